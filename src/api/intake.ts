/**
 * A small body, read whole: so much of it and for so long at most.
 */
import type { Readable } from "node:stream";
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";

/** Lists of thousands of references are inputs too. */
const MAX_BYTES = 4 * 1024 * 1024;
const PATIENCE_MS = 30_000;

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
