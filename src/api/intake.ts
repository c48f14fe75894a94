/**
 * Bodies of requests: a small one is read whole, so much of it and for so long at most; a large one may take as long as it
 * likes, but not stand still.
 */
import { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";

/** Lists of thousands of references are inputs too. */
const MAX_BYTES = 4 * 1024 * 1024;
const PATIENCE_MS = 30_000;
/** Of a large body without a byte, while one is waited for. */
const STALL_MS = 60_000;

/**
 * @returns undefined where it is too large.
 * @throws Failure `invalid`: it broke off, came too slowly, or is no UTF-8.
 */
export async function readAtMost(
  body: Readable,
  { clock, signal, maxBytes = MAX_BYTES }: { clock: Clock; signal: AbortSignal; maxBytes?: number | undefined },
): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const cancel = clock.after(PATIENCE_MS, () => body.destroy(new Failure("invalid", "the body came too slowly")));
  const onAbort = () => body.destroy(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    // Whoever has too much to say is still to be answered: the stream is left as it is then.
    for await (const chunk of body.iterator({ destroyOnReturn: false })) {
      const piece = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      bytes += piece.length;
      if (bytes > maxBytes) return undefined;
      chunks.push(piece);
    }
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure("invalid", `the body broke off: ${messageOf(error)}`);
  } finally {
    cancel();
    signal.removeEventListener("abort", onAbort);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new Failure("invalid", "the body is no UTF-8");
  }
}

/** A body that fails when nothing of it comes for a while. Whoever destroys it destroys the body. */
export function withoutStalls(body: Readable, clock: Clock): Readable {
  const chunks: AsyncIterator<unknown> = body[Symbol.asyncIterator]();
  return new Readable({
    read() {
      const cancel = clock.after(STALL_MS, () => this.destroy(stalled()));
      chunks
        .next()
        .finally(cancel)
        .then(
          ({ done, value }) => this.push(done === true ? null : value),
          (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
        );
    },
    destroy(error, callback) {
      body.destroy();
      callback(error);
    },
  });
}

function stalled(): Failure {
  const message = `the archive breaks off: nothing more of it came for ${STALL_MS / 1000} s. What came whole is kept`;
  return new Failure("corrupt", message, { detail: { truncated: true } });
}
