/**
 * What hashes the bytes of one file, in order, and writes them, wherever they belong.
 *
 * Here the one that works on the event loop, for documents: they are small, and a thread would have to be woken for them.
 * Its sibling is in `scribe.ts`.
 */
import { createHash, type Hash } from "node:crypto";
import type { Failure } from "../base/failure.ts";
import { type Digest, type DigestAlgorithm, finishDigest } from "../oci/digest.ts";
import type { Files } from "./files.ts";
import type { Slab } from "./slabs.ts";
import { storageFailure } from "./trouble.ts";

/** Bytes to be written; they must stay as they are until they are. */
export interface Piece {
  readonly bytes: Uint8Array;
  /** Offset in the file. */
  readonly at: number;
  /** What they lie in, and who is told when they need not lie there any more; undefined for bytes of nobody's. */
  readonly from: { readonly slab: Slab; done(piece: Piece): void } | undefined;
}

export interface PenOwner {
  /** Called for each piece, in the order of `write`, what was not written because of a failure included. */
  done(piece: Piece): void;
  /** Called once, before `done` for what could not be written. */
  failed(error: Failure): void;
}

export interface Pen {
  write(piece: Piece): void;
  /** The digest of all that was written, once it is; rejects with what `failed` told. */
  finish(): Promise<Digest>;
  /** Resolves when neither the descriptor nor any memory is used any more. */
  end(): Promise<void>;
}

export class LoopPen implements Pen {
  readonly #files: Files;
  readonly #fd: number;
  readonly #algorithm: DigestAlgorithm;
  readonly #hash: Hash;
  readonly #owner: PenOwner;
  readonly #pieces: Piece[] = [];
  #idle: PromiseWithResolvers<void> | undefined;
  #failure: Failure | undefined;
  #ending = false;

  constructor(files: Files, fd: number, algorithm: DigestAlgorithm, owner: PenOwner) {
    this.#files = files;
    this.#fd = fd;
    this.#algorithm = algorithm;
    this.#owner = owner;
    this.#hash = createHash(algorithm);
  }

  /** In order only. */
  write(piece: Piece): void {
    this.#hash.update(piece.bytes);
    this.#pieces.push(piece);
    if (this.#pieces.length > 1) return;
    this.#idle = Promise.withResolvers();
    this.#write(piece, 0);
  }

  async finish(): Promise<Digest> {
    await this.#idle?.promise;
    if (this.#failure !== undefined) throw this.#failure;
    return finishDigest(this.#algorithm, this.#hash);
  }

  async end(): Promise<void> {
    this.#ending = true;
    await this.#idle?.promise;
  }

  #write(piece: Piece, from: number): void {
    if (this.#ending || this.#failure !== undefined || from === piece.bytes.length) {
      this.#done(piece);
      return;
    }
    this.#files.write(this.#fd, piece.bytes, from, piece.bytes.length - from, piece.at + from).then(
      (count) => {
        if (count === 0) this.#fail("nothing was written");
        // After a short count the disk is filling up, or a signal came: the rest either goes or tells why not.
        this.#write(piece, from + count);
      },
      (error: unknown) => {
        this.#fail(error);
        this.#write(piece, from);
      },
    );
  }

  #fail(cause: unknown): void {
    this.#failure = storageFailure("cannot write to the cache directory", cause);
    this.#owner.failed(this.#failure);
  }

  #done(piece: Piece): void {
    this.#pieces.shift();
    this.#owner.done(piece);
    const next = this.#pieces[0];
    if (next !== undefined) this.#write(next, 0);
    else this.#idle?.resolve();
  }
}
