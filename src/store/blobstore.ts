/**
 * The port to where bytes are kept, by digest.
 *
 * A blob is stored or it is not; what is stored was verified when it was written. `test/contracts/blobstore.ts` is the
 * suite that every implementation runs.
 */
import type { Sink } from "../base/flow.ts";
import type { Digest } from "../oci/digest.ts";
import type { Follower } from "./follower.ts";

export interface BlobStore {
  /** Whether it is stored, by one look that costs microseconds. For what is probably not: a hit opens it. */
  has(digest: Digest): boolean;
  /**
   * Opens a stored blob; undefined where there is none. Whoever opened it closes it.
   * @param sizeBytes how large it should be, where that is known: such a blob may be had without a look at its file.
   */
  open(digest: Digest, sizeBytes?: number): Promise<Follower | undefined>;
  /**
   * Reads a whole small blob.
   * @throws Failure `storage` where it is larger than `limitBytes`.
   */
  read(digest: Digest, limitBytes: number): Promise<Buffer | undefined>;
  /**
   * Starts to write a blob. The caller sees to it that a digest is written once at a time.
   * @param kept an earlier ingest of it, to be taken up: its bytes are hashed again before they count as verified. Where
   *   it is not there any more, nothing has been received (`receivedBytes`).
   */
  ingest(digest: Digest, kept?: Kept): Promise<Ingest>;
  /** Names of the files of ingests that were suspended, or ended with their process. */
  partials(): Promise<string[]>;
  /** Removes one of these. */
  removePartial(file: string): Promise<void>;
  /** Forgets a stored blob; readers that have it open go on reading. */
  remove(digest: Digest): Promise<void>;
  /** Bytes that the file system still has for us. */
  freeBytes(): Promise<number>;
}

/** What there is of a blob whose ingest was suspended, or ended with its process. */
export interface Kept {
  /** The name of its file, in the store. */
  readonly file: string;
  /** Of the whole blob. */
  readonly sizeBytes: number;
  /** What counts of it, from the first byte on. */
  readonly prefixBytes: number;
}

/** How far the file of an ingest is written without a gap. */
export interface Written {
  /** Is there when this process has died. */
  readonly writtenBytes: number;
  /** Is there when the machine has died. */
  readonly syncedBytes: number;
}

/**
 * One running write of one digest.
 *
 * `declareSize` → `write`…, or bodies by `lane` → `finish`, or `fail` or `suspend` at any moment; then `close`. Followers
 * may be opened from the moment the size is declared until `close`.
 */
export interface Ingest {
  readonly digest: Digest;
  /** The name of its file, by which it can be taken up later. */
  readonly file: string;
  /** Bytes taken over so far, those of an earlier ingest included. */
  readonly receivedBytes: number;
  readonly sizeBytes: number | undefined;

  /** Says how long the blob will be. @throws Failure `corrupt` where another size was declared before. */
  declareSize(sizeBytes: number): void;
  /**
   * Takes the next bytes of a document, which is hashed where it is called: bodies go by lanes. False asks the caller to
   * wait for the `onDrain` callback.
   * @throws Failure: `corrupt` for more bytes than declared, or whatever has ended the ingest.
   */
  write(chunk: Buffer): boolean;
  onDrain(callback: () => void): void;
  /**
   * Takes the bytes from `start` to `end`, not inclusive, or to the declared size. Several lanes may run at a time, and
   * in any order; no byte comes by two. What it throws is what `write` throws.
   */
  lane(start: number, end?: number): Lane;
  /**
   * Resolves once size and digest are verified and the last bytes are released to followers; the blob is then made
   * durable and named, which `stored` tells.
   * @throws Failure `corrupt` (everything written is thrown away), `storage`.
   */
  finish(): Promise<{ readonly sizeBytes: number; readonly stored: Promise<void> }>;
  /** Calls back once, as soon as something ends the ingest without a blob, be it the disk while no bytes come. */
  onFailure(callback: (reason: Error) => void): void;
  /** Ends the ingest without a blob. Followers learn the reason; nothing is left on disk when this resolves. */
  fail(reason: Error): Promise<void>;
  /**
   * Ends the ingest without a blob, as `fail` does, but keeps what was written of a body without a gap. Its lanes must be
   * closed before.
   * @returns how far that is; undefined where nothing is kept.
   */
  suspend(reason: Error): Promise<Written | undefined>;
  /** How far it is written now. */
  written(): Written;
  /**
   * A reader from here on. The size must be known.
   * @param onClose called once when the follower is closed.
   */
  follow(onClose: () => void): Follower;
  /** How many bytes followers may see. */
  visible(): number;
  /** Ends the ingest's own use of the file; followers keep theirs. */
  close(): void;
}

/** One body on its way into an ingest. */
export interface Lane extends Sink {
  /** Offset of the next byte. */
  readonly position: number;
  /** Whether all it should bring has come. */
  readonly isFull: boolean;
  /** Calls back once, when there is memory again or the ingest has failed. */
  onDrain(callback: () => void): void;
  /** Gives its memory back, so the flow must be over or destroyed; the bytes that came are kept. */
  close(): void;
}

/**
 * Followers of a running ingest never see its last 64 KiB before the digest is verified, so wrong or short content always
 * ends short of the announced length.
 */
export const BARRIER_BYTES = 64 * 1024;
