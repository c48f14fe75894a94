/**
 * A long answer as lines of JSON (NDJSON): one for each event as it comes, and `done` or `failed` last, always.
 *
 * Where nothing comes for a while an empty line does, which readers of NDJSON pass over, so that nobody in between takes
 * the connection for dead.
 */
import { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import type { ApiEvent } from "./operation.ts";
import { problemOf } from "./problem.ts";

const SILENCE_MS = 15_000;

export interface LinesParts {
  readonly clock: Clock;
  /** Ends the lines at once, by `failed`. */
  readonly signal: AbortSignal;
  /** Learns of what is no `Failure`. */
  readonly onBug: (error: unknown) => void;
}

export async function* linesOf(
  events: AsyncIterator<ApiEvent>,
  first: Promise<IteratorResult<ApiEvent>>,
  { clock, signal, onBug }: LinesParts,
): AsyncGenerator<string> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  aborted.catch(() => {});
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    let next = first;
    for (;;) {
      const result = await unlessSilent(Promise.race([next, aborted]), clock);
      if (result === "silence") yield "\n";
      else if (result.done) throw new Error("the operation ended without a result");
      else {
        yield line(result.value);
        if (result.value.event === "done" || result.value.event === "failed") return;
        next = events.next();
        next.catch(() => {});
      }
    }
  } catch (error) {
    const problem = problemOf(error);
    if (problem.kind === "bug") onBug(error);
    yield line({ event: "failed", kind: problem.kind, message: problem.message });
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * Lines as a stream that hands each on as it comes.
 * @param onEnd called once, when the last was taken or the stream was destroyed; it must end what the lines wait for.
 */
export function streamOf(lines: AsyncGenerator<string>, onEnd: () => void): Readable {
  return new Readable({
    read() {
      lines.next().then(
        ({ done, value }) => this.push(done === true ? null : value),
        (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
      );
    },
    destroy(error, callback) {
      onEnd();
      lines.return(undefined).then(
        () => callback(error),
        () => callback(error),
      );
    },
  });
}

function line(event: ApiEvent): string {
  return `${JSON.stringify(event)}\n`;
}

async function unlessSilent<T>(promise: Promise<T>, clock: Clock): Promise<T | "silence"> {
  const { promise: silence, resolve } = Promise.withResolvers<"silence">();
  const cancel = clock.after(SILENCE_MS, () => resolve("silence"));
  try {
    return await Promise.race([promise, silence]);
  } finally {
    cancel();
  }
}
