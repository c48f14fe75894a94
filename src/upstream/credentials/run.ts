/**
 * One run of a program: something to read for it, and what it writes, up to a limit.
 *
 * It is started without a shell and leads a process group of its own, so that nothing of it is left when it is ended:
 * because it hangs, or writes too much. What it writes to its standard error is not looked at.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";

export interface RunOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly input: string;
  readonly maxBytes: number;
  /** Ends it. */
  readonly signal: AbortSignal;
}

export interface Ran {
  /** Its exit status; undefined where a signal ended it. */
  readonly status: number | undefined;
  /** Undefined where it was more than allowed, and the program was ended for it. */
  readonly output: Buffer | undefined;
}

/** Rejects with the system's error where it cannot be started (`ENOENT`), or with the signal's reason. */
export type Run = (program: string, args: readonly string[], options: RunOptions) => Promise<Ran>;

/** What a program left running may hold our end of its output open; it is not waited for. */
const LINGER_MS = 500;

export type Start = (program: string, args: readonly string[], options: SpawnOptions) => ChildProcess;

export const run: Run = (program, args, options) => runBy(spawn, program, args, options);

export const runBy = (start: Start, ...[program, args, options]: Parameters<Run>): ReturnType<Run> =>
  new Promise((resolve, reject) => {
    const { env, input, maxBytes, signal } = options;
    if (signal.aborted) {
      reject(signal.reason);
      return;
    }
    const child = start(program, args, { env, detached: true, stdio: ["pipe", "pipe", "ignore"] });
    // Out of file descriptors, Node gives it neither: it says `error` then, and nothing else.
    const { stdin, stdout } = child;
    const pieces: Buffer[] = [];
    let bytes = 0;
    let linger: NodeJS.Timeout | undefined;
    // A process that the system does not let go of is not waited for either.
    const settleSoon = () => {
      linger ??= setTimeout(settle, LINGER_MS);
    };
    const onAbort = () => {
      end(child);
      settleSoon();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    const settle = (failed?: Error) => {
      clearTimeout(linger);
      signal.removeEventListener("abort", onAbort);
      stdin?.destroy();
      stdout?.destroy();
      if (signal.aborted) reject(signal.reason);
      else if (failed !== undefined) reject(failed);
      else {
        resolve({ status: child.exitCode ?? undefined, output: bytes > maxBytes ? undefined : Buffer.concat(pieces) });
      }
    };
    child.once("error", settle);
    child.once("close", () => settle());
    child.once("exit", settleSoon);
    // Who exits without reading is judged by its exit.
    stdin?.on("error", () => {});
    stdout?.on("error", () => {});
    stdout?.on("data", (piece: Buffer) => {
      bytes += piece.length;
      if (bytes <= maxBytes) pieces.push(piece);
      else end(child);
    });
    stdin?.end(input);
  });

/** With all that it started and that stayed in its group. */
function end(child: ChildProcess): void {
  // Once it has ended, its number may be another's.
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch {
    // It is gone.
  }
}
