/**
 * Moves an upstream's body into an ingest: no promise and no copy per chunk, and the upstream waits for the disk.
 */
import type { Readable } from "node:stream";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import type { Ingest } from "../store/blobstore.ts";
import { noRoom } from "./capacity.ts";

/**
 * Resolves when the body has ended and every byte of it was taken over.
 * @param skipBytes how many bytes at the body's start the ingest has already (an upstream that ignores ranges).
 * @param limitBytes how large the whole blob may become; the upstream may not have said how large it is.
 * @throws whatever the body or the ingest fails with.
 */
export function pump(
  body: Readable,
  skipBytes: number,
  ingest: Ingest,
  limitBytes = Number.POSITIVE_INFINITY,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let skip = skipBytes;
    const stop = (error: unknown) => {
      body.removeListener("data", onData);
      // The body may still complain after it was given up; that is nobody's business any more.
      body.on("error", () => {});
      body.destroy();
      reject(isFailure(error) ? error : new Failure("unreachable", messageOf(error), { cause: error }));
    };
    const onData = (chunk: Buffer) => {
      let bytes = chunk;
      if (skip > 0) {
        const dropped = Math.min(skip, chunk.length);
        skip -= dropped;
        bytes = chunk.subarray(dropped);
        if (bytes.length === 0) return;
      }
      if (ingest.sizeBytes === undefined && ingest.receivedBytes + bytes.length > limitBytes) {
        stop(noRoom("cache-full"));
        return;
      }
      try {
        if (ingest.write(bytes)) return;
      } catch (error) {
        stop(error);
        return;
      }
      body.pause();
      ingest.onDrain(() => body.resume());
    };
    if (body.destroyed) {
      stop(body.errored ?? new Failure("unreachable", "the upstream's answer was cut off"));
      return;
    }
    body.on("data", onData);
    body.once("end", resolve);
    body.once("error", stop);
    body.once("close", () => stop(new Failure("unreachable", "the upstream's answer was cut off")));
  });
}
