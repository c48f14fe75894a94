/**
 * Goes on with an answer whose file has failed in the middle: the rest comes from the upstream, from the byte that was
 * reached, and the client notices nothing.
 *
 * The last 64 KiB leave only when the digest of the whole is right. What comes before the byte that was reached is hashed
 * from the file, which is mostly still there to be read; from where it is not, the upstream sends it again, to be
 * hashed and dropped. Those who lost the same file at about the same byte share a body.
 */
import { createHash, type Hash } from "node:crypto";
import { read } from "node:fs";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import type { Clock } from "../base/clock.ts";
import { algorithmOf } from "../oci/digest.ts";
import { BARRIER_BYTES } from "../store/blobstore.ts";
import type { Follower } from "../store/follower.ts";
import type { Relay } from "./relay.ts";
import { RelayReader } from "./relayreader.ts";
import type { Relays, Subject } from "./relays.ts";

/** The others who lost the same file come within this time. */
const GATHER_MS = 20;
/** What is read and hashed at once: a millisecond or two. */
const PIECE_BYTES = 1024 * 1024;

const readAsync = promisify(read);

/** Where an answer was when its file failed. */
export interface Stranded {
  /** Taken over. Undefined: no file is left to be read. */
  readonly follower: Follower | undefined;
  /** The first byte that the client needs. */
  readonly position: number;
  /** The last one, inclusive. */
  readonly end: number;
}

/** Those who lost the same file, and wait for the same bodies. */
interface Group {
  readonly stranded: { readonly reader: RelayReader; readonly follower: Follower | undefined }[];
}

export class Rescue {
  readonly #clock: Clock;
  readonly #relays: Relays;
  readonly #gathering = new Map<string, Group>();

  constructor(clock: Clock, relays: Relays) {
    this.#clock = clock;
    this.#relays = relays;
  }

  /** The rest of the answer. Whoever gets it reads or destroys it. */
  open(subject: Subject, { follower, position, end }: Stranded): Readable {
    const { route, digest, sizeBytes } = subject;
    if (end < sizeBytes - BARRIER_BYTES) {
      follower?.close();
      return this.#relays.slice(subject, position, end + 1);
    }
    const reader = new RelayReader(position, end + 1);
    const running = this.#relays.find(route, digest, position);
    if (running !== undefined) {
      follower?.close();
      running.join(reader);
      return reader;
    }
    const key = `${route.upstream} ${route.repository} ${digest}`;
    const group = this.#gathering.get(key);
    if (group !== undefined) {
      group.stranded.push({ reader, follower });
      return reader;
    }
    const begun: Group = { stranded: [{ reader, follower }] };
    this.#gathering.set(key, begun);
    this.#clock.after(GATHER_MS, () => {
      this.#gathering.delete(key);
      void this.#begin(subject, begun);
    });
    return reader;
  }

  /** One pass over the file, which leaves the state of the hash at each byte that somebody needs. */
  async #begin(subject: Subject, { stranded }: Group): Promise<void> {
    const file = stranded[0]?.follower;
    const hash = createHash(algorithmOf(subject.digest));
    let hashedBytes = 0;
    let relay: Relay | undefined;
    try {
      for (const { reader } of stranded.toSorted((a, b) => a.reader.position - b.reader.position)) {
        if (reader.destroyed) continue;
        if (relay?.covers(reader.position) !== true) {
          const reached = file === undefined ? 0 : Math.min(reader.position, file.visible());
          hashedBytes = await hashUpTo(file, hash, { from: hashedBytes, to: reached, wanted: () => !reader.destroyed });
          // He may have left meanwhile.
          if (reader.destroyed) continue;
          relay = this.#relays.open(subject, { start: hashedBytes, hash: hash.copy() });
        }
        relay.join(reader);
      }
    } catch (error) {
      for (const { reader } of stranded) if (reader.relay === undefined) reader.destroy(asError(error));
    } finally {
      for (const { follower } of stranded) follower?.close();
    }
  }
}

/** @returns how far it came: what cannot be read, or is not wanted any more, ends it. */
async function hashUpTo(
  file: Follower | undefined,
  hash: Hash,
  { from, to, wanted }: { readonly from: number; readonly to: number; wanted(): boolean },
): Promise<number> {
  if (file === undefined || from >= to) return from;
  const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, to - from));
  let at = from;
  while (at < to && wanted()) {
    let count: number;
    try {
      ({ bytesRead: count } = await readAsync(file.fd, buffer, 0, Math.min(buffer.length, to - at), at));
    } catch {
      return at;
    }
    if (count === 0) return at;
    hash.update(buffer.subarray(0, count));
    at += count;
  }
  return at;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
