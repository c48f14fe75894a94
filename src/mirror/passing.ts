/**
 * Bytes that go from the upstream to one client without being stored: a range far ahead of the running fill, or a whole
 * blob there is no room for.
 *
 * They hold a connection to the upstream for as long as the client reads. So a few ranges pass at a time, and others
 * follow the fill. A whole blob is relayed to all who ask for it, verified.
 */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { Failure, isFailure } from "../base/failure.ts";
import { readableOf } from "../base/flow.ts";
import { unlessAborted } from "../base/singleflight.ts";
import { placeKey } from "../meta/repositories.ts";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { type Absence, type BlobBody, isAbsence } from "../upstream/upstream.ts";
import type { Caller } from "./caller.ts";
import type { Passes } from "./passes.ts";
import type { Relay } from "./relay.ts";
import { RelayReader } from "./relayreader.ts";
import type { Relays } from "./relays.ts";
import type { Route } from "./route.ts";
import type { Slice } from "./slice.ts";

export class Passing {
  readonly #passes: Passes;
  readonly #relays: Relays;
  readonly #opening = new Map<string, Opening>();

  constructor(passes: Passes, relays: Relays) {
    this.#passes = passes;
    this.#relays = relays;
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

  /**
   * Whoever asks while it is on its way already, and its first bytes are still at hand, reads along.
   * @throws Failure, `storage` where nobody can tell the size that has to be announced.
   */
  async openWhole(
    route: Route,
    digest: Digest,
    sizeHint: number | undefined,
    caller: Caller,
  ): Promise<{ readonly body: Readable; readonly sizeBytes: number } | Absence> {
    const running = this.#relays.find(route, digest, 0);
    if (running !== undefined) return joined(running);
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
    return isAbsence(opened) ? opened : joined(opened);
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

function joined(relay: Relay): { readonly body: Readable; readonly sizeBytes: number } {
  const body = new RelayReader(0, relay.sizeBytes);
  relay.join(body);
  return { body, sizeBytes: relay.sizeBytes };
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
