/**
 * Moves an upstream's body into an ingest: no promise and no copy per piece, and the upstream waits for the disk.
 */
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import type { Flow, Sink } from "../base/flow.ts";
import type { Ingest } from "../store/blobstore.ts";
import { noRoom } from "./capacity.ts";

const PIECE_BYTES = 256 * 1024;
/** What is worth handing over by itself, where the rest of a piece has room for more. */
const MIN_REST_BYTES = 64 * 1024;

/**
 * Resolves when the body has ended and every byte of it was taken over.
 * @param skipBytes how many bytes at the body's start the ingest has already (an upstream that ignores ranges).
 * @param limitBytes how large the whole blob may become; the upstream may not have said how large it is.
 * @throws whatever the body or the ingest fails with.
 */
export function pump(
  body: Flow,
  skipBytes: number,
  ingest: Ingest,
  limitBytes = Number.POSITIVE_INFINITY,
): Promise<void> {
  let skip = skipBytes;
  let space = Buffer.allocUnsafeSlow(PIECE_BYTES);
  const sink: Sink = {
    space: () => space,
    filled(count) {
      const dropped = Math.min(skip, count);
      skip -= dropped;
      const bytes = space.subarray(dropped, count);
      // The ingest keeps what it is given.
      space = space.length - count < MIN_REST_BYTES ? Buffer.allocUnsafeSlow(PIECE_BYTES) : space.subarray(count);
      if (bytes.length === 0) return true;
      if (ingest.sizeBytes === undefined && ingest.receivedBytes + bytes.length > limitBytes) {
        throw noRoom("cache-full");
      }
      if (ingest.write(bytes)) return true;
      ingest.onDrain(() => body.resume());
      return false;
    },
  };
  return new Promise((resolve, reject) => {
    body.pour(sink, (error) => {
      if (error === undefined) resolve();
      else reject(isFailure(error) ? error : new Failure("unreachable", messageOf(error), { cause: error }));
    });
  });
}
