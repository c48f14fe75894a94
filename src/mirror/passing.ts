/**
 * Bytes that go from the upstream to one client without being stored: a range far ahead of the running fill, or a whole
 * blob there is no room for.
 *
 * They hold a connection to the upstream for as long as the client reads. So a few ranges pass at a time, and others
 * follow the fill. A whole blob passes through a barrier of its own.
 */
import type { Readable } from "node:stream";
import { Failure, isFailure } from "../base/failure.ts";
import { readableOf } from "../base/flow.ts";
import { unlessAborted } from "../base/singleflight.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { type Absence, type BlobBody, isAbsence } from "../upstream/upstream.ts";
import { VerifiedStream } from "./barrier.ts";
import type { Caller } from "./caller.ts";
import type { Passes } from "./passes.ts";
import type { Route } from "./route.ts";
import type { Slice } from "./slice.ts";

export class Passing {
  readonly #passes: Passes;

  constructor(passes: Passes) {
    this.#passes = passes;
  }

  /** Undefined where too many pass already, or the upstream does not send exactly these bytes of exactly this blob. */
  async openSlice(
    route: Route,
    digest: Digest,
    slice: Slice,
    sizeBytes: number,
    caller: Caller,
  ): Promise<Readable | undefined> {
    const release = await this.#passes.take(route);
    if (release === undefined) return undefined;
    let body: Readable | undefined;
    try {
      body = await askSlice(route, digest, slice, sizeBytes, caller);
    } finally {
      if (body === undefined || body.destroyed) release();
      else body.once("close", release);
    }
    return body;
  }

  /** @throws Failure, `storage` where nobody can tell the size that has to be announced. */
  async openWhole(
    route: Route,
    digest: Digest,
    sizeHint: number | undefined,
    caller: Caller,
  ): Promise<{ readonly body: Readable; readonly sizeBytes: number } | Absence> {
    const absence = await unlessAborted(this.#passes.admit(route, digest), caller.signal);
    if (absence !== undefined) return absence;
    const answer = await route.source.upstream.openBlob(route.repository, digest, undefined, caller.signal);
    if (isAbsence(answer)) return answer;
    const sizeBytes = answer.sizeBytes ?? sizeHint;
    if (sizeBytes === undefined) {
      answer.body.destroy();
      throw new Failure("storage", "the blob cannot be stored, and its size is not known");
    }
    if (sizeBytes === 0 && digest !== digestOf(Buffer.alloc(0), algorithmOf(digest))) {
      // There is no byte to hold back: this has to be known before the answer begins.
      answer.body.destroy();
      throw new Failure("corrupt", "the upstream sent an empty blob");
    }
    const verified = new VerifiedStream(digest);
    const body = readableOf(answer.body);
    body.on("error", (error) => verified.destroy(error));
    verified.on("close", () => body.destroy());
    body.pipe(verified);
    return { body: verified, sizeBytes };
  }
}

async function askSlice(
  route: Route,
  digest: Digest,
  slice: Slice,
  sizeBytes: number,
  caller: Caller,
): Promise<Readable | undefined> {
  let answer: BlobBody | Absence;
  try {
    answer = await route.source.upstream.openBlob(route.repository, digest, slice, caller.signal);
  } catch (error) {
    caller.signal.throwIfAborted();
    // The fill may still bring them.
    if (isFailure(error)) return undefined;
    throw error;
  }
  if (isAbsence(answer)) return undefined;
  const whole = answer.sizeBytes ?? sizeBytes;
  if (answer.startByte === slice.start && answer.bodyBytes === slice.end - slice.start + 1 && whole === sizeBytes) {
    const body = readableOf(answer.body);
    // What it complains of after it was given up is nobody's business.
    body.on("error", () => {});
    return body;
  }
  // It ignores ranges, or speaks of something else.
  answer.body.destroy();
  return undefined;
}
