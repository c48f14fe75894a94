/**
 * What running imports rely on, be it stored before or brought by themselves: nothing of it leaves for want of room before
 * they are over. Nobody else can tell: an import names its pieces when all of them are there.
 */
import type { Digest } from "../oci/digest.ts";

export class Claims {
  readonly #counts = new Map<Digest, number>();

  has(digest: Digest): boolean {
    return this.#counts.has(digest);
  }

  /** What one import will claim. */
  open(): Claim {
    const counts = this.#counts;
    const own = new Set<Digest>();
    return {
      add(digest) {
        if (own.has(digest)) return;
        own.add(digest);
        counts.set(digest, (counts.get(digest) ?? 0) + 1);
      },
      release() {
        for (const digest of own) {
          const count = (counts.get(digest) ?? 1) - 1;
          if (count === 0) counts.delete(digest);
          else counts.set(digest, count);
        }
        own.clear();
      },
    };
  }
}

export interface Claim {
  add(digest: Digest): void;
  /** May be called more than once. */
  release(): void;
}
