/**
 * SIGINT and SIGTERM of a command that works for a while: the first ends the work, the second the process.
 */
import type { StopSignal, World } from "./world.ts";

const SAME_SIGNAL_MS = 150;
/** What shells say of a process that a signal ended. */
export const SIGNAL_EXIT: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

/** @returns stops watching */
export function watchSignals(world: World, onFirst: (signal: StopSignal) => void): () => void {
  let last: { readonly signal: StopSignal; readonly at: number } | undefined;
  return world.onSignal((signal) => {
    const before = last;
    last = { signal, at: performance.now() };
    if (before === undefined) onFirst(signal);
    // A terminal signals the whole group, and npm hands on what it got: that is one Ctrl-C and not two.
    else if (before.signal !== signal || last.at - before.at >= SAME_SIGNAL_MS) world.exit(SIGNAL_EXIT[signal]);
  });
}
