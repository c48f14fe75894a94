/**
 * Bytes that go from the upstream to one client without being stored: a range far ahead of the running fill, or a blob
 * there is no room for.
 *
 * They hold a connection to the upstream for as long as the client reads. So a few ranges pass at a time, and others
 * follow the fill. Such a range is not verified, and never reaches the last 64 KiB: what does, is cut from the whole, which
 * is relayed to all who ask for it, verified.
 */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { Failure, isFailure } from "../base/failure.ts";
import { readableOf } from "../base/flow.ts";
import { unlessAborted } from "../base/singleflight.ts";
import { placeKey } from "../meta/repositories.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { BARRIER_BYTES } from "../store/blobstore.ts";
import { type Absence, type BlobBody, isAbsence } from "../upstream/upstream.ts";
import type { Caller } from "./caller.ts";
import type { Passes } from "./passes.ts";
import type { Relay } from "./relay.ts";
import { RelayReader } from "./relayreader.ts";
import type { Relays } from "./relays.ts";
import type { Route } from "./route.ts";
import type { Slice } from "./slice.ts";

/** What is wanted of a blob of this size, where that is just one slice of it. */
export type FindSlice = (sizeBytes: number) => Slice | undefined;

/** Verified: its last bytes come when the digest of the whole is right. */
export interface Relayed {
  readonly body: Readable;
  readonly sizeBytes: number;
  /** Undefined where it is the whole. */
  readonly slice: Slice | undefined;
}

/** Whether the slice has bytes that nobody gets before the whole was verified. */
export function reachesTail(slice: Slice, sizeBytes: number): boolean {
  return slice.end >= sizeBytes - BARRIER_BYTES;
}

export class Passing {
  readonly #passes: Passes;
  readonly #relays: Relays;
  readonly #opening = new Map<string, Opening>();

  constructor(passes: Passes, relays: Relays) {
    this.#passes = passes;
    this.#relays = relays;
  }

  /**
   * Undefined where the slice has to be verified, too many pass already, or the upstream does not send exactly these bytes of
   * exactly this blob.
   */
  async openSlice(
    route: Route,
    digest: Digest,
    slice: Slice,
    sizeBytes: number,
    caller: Caller,
  ): Promise<Readable | undefined> {
    if (reachesTail(slice, sizeBytes)) return undefined;
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

  /**
   * Whoever asks while it is on its way already, and his first bytes are still at hand, reads along. What comes before a
   * slice is fetched too, to be hashed.
   * @throws Failure, `storage` where nobody can tell the size that has to be announced.
   */
  async openVerified(
    route: Route,
    digest: Digest,
    sizeHint: number | undefined,
    findSlice: FindSlice,
    caller: Caller,
  ): Promise<Relayed | Absence> {
    const first = sizeHint === undefined ? 0 : (findSlice(sizeHint)?.start ?? 0);
    // However far ahead: another body would begin at the first byte.
    const running = this.#relays.find(route, digest, first, Number.POSITIVE_INFINITY);
    if (running !== undefined) return joined(running, findSlice);
    const key = `${placeKey(route)}@${digest}`;
    const known = this.#opening.get(key);
    const opening = known ?? new Opening((signal) => this.#open(route, digest, sizeHint, signal));
    if (known === undefined) {
      this.#opening.set(key, opening);
      opening.onceOver(() => {
        if (this.#opening.get(key) === opening) this.#opening.delete(key);
      });
    }
    const opened = await opening.wait(caller.signal);
    return isAbsence(opened) ? opened : joined(opened, findSlice);
  }

  async #open(
    route: Route,
    digest: Digest,
    sizeHint: number | undefined,
    signal: AbortSignal,
  ): Promise<Relay | Absence> {
    const absence = await unlessAborted(this.#passes.admit(route, digest), signal);
    if (absence !== undefined) return absence;
    const arrival = await route.source.upstream.openBlob(route.repository, digest, undefined, signal);
    if (isAbsence(arrival)) return arrival;
    const sizeBytes = arrival.sizeBytes ?? sizeHint;
    if (sizeBytes === undefined) {
      arrival.body.destroy();
      throw new Failure("storage", "the blob cannot be stored, and its size is not known");
    }
    if (sizeBytes === 0 && digest !== digestOf(Buffer.alloc(0), algorithmOf(digest))) {
      // There is no byte to hold back: this has to be known before the answer begins.
      arrival.body.destroy();
      throw new Failure("corrupt", "the upstream sent an empty blob");
    }
    const hash = createHash(algorithmOf(digest));
    return this.#relays.open({ route, digest, sizeBytes }, { start: 0, hash, arrival });
  }
}

function joined(relay: Relay, findSlice: FindSlice): Relayed {
  const { sizeBytes } = relay;
  const slice = findSlice(sizeBytes);
  const body = new RelayReader(slice?.start ?? 0, slice === undefined ? sizeBytes : slice.end + 1);
  relay.join(body);
  return { body, sizeBytes, slice };
}

/** One question to the upstream, for all who ask while it is not answered; it ends when the last of them has left. */
class Opening {
  readonly #abort = new AbortController();
  readonly #outcome: Promise<Relay | Absence>;
  #waiting = 0;
  #opened: Relay | undefined;

  constructor(open: (signal: AbortSignal) => Promise<Relay | Absence>) {
    this.#outcome = open(this.#abort.signal).then((opened) => {
      if (!isAbsence(opened)) this.#opened = opened;
      return opened;
    });
    this.#outcome.catch(() => {});
  }

  onceOver(callback: () => void): void {
    this.#outcome.then(callback, callback);
    this.#abort.signal.addEventListener("abort", callback, { once: true });
  }

  async wait(signal: AbortSignal): Promise<Relay | Absence> {
    this.#waiting += 1;
    try {
      return await unlessAborted(this.#outcome, signal);
    } catch (error) {
      if (signal.aborted && this.#waiting === 1) this.#giveUp();
      throw error;
    } finally {
      this.#waiting -= 1;
    }
  }

  #giveUp(): void {
    if (this.#opened !== undefined) {
      this.#opened.drop();
      return;
    }
    this.#abort.abort(new Failure("unreachable", "nobody waits for this blob any more"));
    // The answer may have been on its way to us.
    this.#outcome.then((opened) => (isAbsence(opened) ? undefined : opened.drop())).catch(() => {});
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
