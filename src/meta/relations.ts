/**
 * Looks at the index by what things have to do with one another: what a document names and what is about it. Reads only.
 */
import type { Digest } from "../oci/digest.ts";
import type { Database } from "./database.ts";

export class Relations {
  readonly #childrenOf;
  readonly #digests;

  constructor(database: Database) {
    this.#childrenOf = database.prepare("SELECT child FROM names WHERE parent = ? ORDER BY child LIMIT ?");
    this.#digests = database.prepare("SELECT digest FROM blobs WHERE digest > ? ORDER BY digest LIMIT ?");
  }

  /** What it names, stored or not, and the documents that have it for their subject, in the order of their digests. */
  childrenOf(digest: Digest, limit: number): Digest[] {
    return this.#childrenOf.all(digest, limit).map(({ child }) => String(child) as Digest);
  }

  /** The next of all that is stored, in the order of digests. @param after "" for the first. */
  digestsAfter(after: Digest | "", limit: number): Digest[] {
    return this.#digests.all(after, limit).map(({ digest }) => String(digest) as Digest);
  }
}
