/**
 * The last-chunk barrier for content that is streamed through without being stored: hashes what passes, holds back the
 * last 64 KiB, and lets go of them only when the digest is right.
 */
import { createHash } from "node:crypto";
import { Transform, type TransformCallback } from "node:stream";
import { Failure } from "../base/failure.ts";
import { algorithmOf, type Digest, finishDigest } from "../oci/digest.ts";
import { BARRIER_BYTES } from "../store/blobstore.ts";

export class VerifiedStream extends Transform {
  readonly #digest: Digest;
  readonly #hash;
  readonly #held: Buffer[] = [];
  #heldBytes = 0;

  constructor(digest: Digest) {
    super({ writableHighWaterMark: 256 * 1024, readableHighWaterMark: 256 * 1024 });
    this.#digest = digest;
    this.#hash = createHash(algorithmOf(digest));
  }

  override _transform(chunk: Buffer, _encoding: string, callback: TransformCallback): void {
    this.#hash.update(chunk);
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    for (let first = this.#held[0]; first !== undefined; first = this.#held[0]) {
      if (this.#heldBytes - first.length < BARRIER_BYTES) break;
      this.#held.shift();
      this.#heldBytes -= first.length;
      this.push(first);
    }
    callback();
  }

  override _flush(callback: TransformCallback): void {
    const found = finishDigest(algorithmOf(this.#digest), this.#hash);
    if (found !== this.#digest) {
      callback(new Failure("corrupt", `the upstream sent other content: ${found}`));
      return;
    }
    for (const chunk of this.#held) this.push(chunk);
    callback();
  }
}
