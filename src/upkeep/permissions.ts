/**
 * Forgets permissions to read what is not here and never was stored: answers to HEAD, and what went past the store, would
 * leave a row each for ever. One that was idle an hour ago and is now has nothing on its way any more.
 */
import { type Clock, pause } from "../base/clock.ts";
import type { Emitter } from "../base/notices.ts";
import type { Graph, Permission } from "../meta/graph.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { Slices } from "./slices.ts";

export interface PermissionParts {
  readonly graph: Pick<Graph, "idleAfter" | "dropIdle">;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

const LOOK_MS = 60 * 60_000;
const ROWS = 100;
/** More than this wait for a later look. */
const MAX_SEEN = 50_000;

export class IdlePermissions {
  readonly #parts: PermissionParts;
  #seen: ReadonlySet<string> = new Set();
  #running: Promise<void> = Promise.resolve();

  constructor(parts: PermissionParts) {
    this.#parts = parts;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Once the signal has aborted: resolves when nothing runs any more. */
  async stop(): Promise<void> {
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, signal, notices } = this.#parts;
    while (!signal.aborted) {
      try {
        await pause(clock, LOOK_MS, signal);
        await this.#look();
      } catch (cause) {
        if (!signal.aborted) notices.emit("backgroundFailed", { what: "forgetting idle permissions", cause });
      }
    }
  }

  async #look(): Promise<void> {
    const { graph, signal } = this.#parts;
    const slices = new Slices(signal);
    const seen = new Set<string>();
    let last: Permission | undefined;
    do {
      await slices.pass();
      const found = graph.idleAfter(last, ROWS);
      const gone = found.idle.filter((one) => this.#seen.has(keyOf(one)));
      if (gone.length > 0) graph.dropIdle(gone);
      for (const one of found.idle) if (seen.size < MAX_SEEN && !this.#seen.has(keyOf(one))) seen.add(keyOf(one));
      last = found.last;
    } while (last !== undefined);
    this.#seen = seen;
  }
}

function keyOf({ repositoryId, digest }: Permission): string {
  return `${repositoryId} ${digest}`;
}
