/**
 * How much of what is wanted is here: of one image, and of all.
 */

/** One document or blob. Its size is -1 where nobody knows. */
export class Piece {
  readonly sizeBytes: number;
  /** While it is under way: how much of it has come. */
  progress: (() => number) | undefined;
  #state: "open" | "here" | "lost" = "open";

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  get isLost(): boolean {
    return this.#state === "lost";
  }

  get totalBytes(): number {
    return this.#state === "lost" ? 0 : Math.max(0, this.sizeBytes);
  }

  get doneBytes(): number {
    if (this.#state !== "open") return this.totalBytes;
    return Math.min(this.totalBytes, this.progress?.() ?? 0);
  }

  arrived(): void {
    this.#state = "here";
    this.progress = undefined;
  }

  /** It is not to be had. */
  lost(): void {
    this.#state = "lost";
    this.progress = undefined;
  }
}

export interface Sums {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

/** A look at it costs as much as there are open pieces. */
export class Tally {
  readonly #open = new Set<Piece>();
  #settledBytes = 0;

  add(piece: Piece): void {
    this.#open.add(piece);
  }

  get sums(): Sums {
    let [doneBytes, totalBytes] = [0, 0];
    for (const piece of this.#open) {
      if (piece.isOpen) {
        doneBytes += piece.doneBytes;
        totalBytes += piece.totalBytes;
      } else {
        this.#settledBytes += piece.totalBytes;
        this.#open.delete(piece);
      }
    }
    return { doneBytes: doneBytes + this.#settledBytes, totalBytes: totalBytes + this.#settledBytes };
  }
}
