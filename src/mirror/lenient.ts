/**
 * The index as whoever answers clients reads it: one that cannot be read knows nothing, and says so to observers. What is
 * not known is asked of the upstream, so a pull goes on without an index.
 *
 * Writes fail as they do; each of their callers knows what to do without them.
 */
import type { Emitter } from "../base/notices.ts";
import { type Database, isDatabaseError } from "../meta/database.ts";
import { Graph, type Reachable } from "../meta/graph.ts";
import { Inventory } from "../meta/inventory.ts";
import type { Place, Repositories } from "../meta/repositories.ts";
import { type TagEntry, Tags } from "../meta/tags.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { MirrorNotices } from "./notices.ts";

type Troubles = Emitter<MirrorNotices>;

export class LenientTags extends Tags {
  readonly #notices: Troubles;

  constructor(notices: Troubles, database: Database, repositories: Repositories, sole = true) {
    super(database, repositories, sole);
    this.#notices = notices;
  }

  override find(place: Place, tag: Tag): TagEntry | undefined {
    return readable(this.#notices, () => super.find(place, tag));
  }
}

export class LenientGraph extends Graph {
  readonly #notices: Troubles;

  constructor(notices: Troubles, database: Database, repositories: Repositories) {
    super(database, repositories);
    this.#notices = notices;
  }

  override findReachable(place: Place, digest: Digest): Reachable | undefined {
    return readable(this.#notices, () => super.findReachable(place, digest));
  }
}

export class LenientInventory extends Inventory {
  readonly #notices: Troubles;

  constructor(notices: Troubles, database: Database, counting = true, dateOf?: (at: number) => number) {
    super(database, counting, dateOf);
    this.#notices = notices;
  }

  override findSize(digest: Digest): number | undefined {
    return readable(this.#notices, () => super.findSize(digest));
  }

  override findUpstream(digest: Digest): string | undefined {
    return readable(this.#notices, () => super.findUpstream(digest));
  }

  override findMediaType(digest: Digest): string | undefined {
    return readable(this.#notices, () => super.findMediaType(digest));
  }

  /** A row that stays is found to be wrong again. */
  override dropBlob(digest: Digest): void {
    readable(this.#notices, () => super.dropBlob(digest));
  }
}

function readable<T>(notices: Troubles, work: () => T): T | undefined {
  try {
    return work();
  } catch (cause) {
    if (!isDatabaseError(cause)) throw cause;
    notices.emit("storageTrouble", { message: "the index cannot be used", cause });
    return undefined;
  }
}
