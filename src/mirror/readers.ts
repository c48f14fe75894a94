/**
 * What other processes have open of the store for longer than a moment, as they tell it: it is in use, and neither leaves
 * nor counts as space that could be had.
 */
import type { Digest } from "../oci/digest.ts";

export class Readers {
  /** How many processes have each open. */
  readonly #open = new Map<Digest, number>();

  began(digest: Digest): void {
    this.#open.set(digest, (this.#open.get(digest) ?? 0) + 1);
  }

  ended(digest: Digest): void {
    const left = (this.#open.get(digest) ?? 1) - 1;
    if (left > 0) this.#open.set(digest, left);
    else this.#open.delete(digest);
  }

  has(digest: Digest): boolean {
    return this.#open.has(digest);
  }
}
