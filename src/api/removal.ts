/**
 * Takes one image out of a repository: its tags there, the permission to read it there, and of its content what nobody
 * else needs. What others tag, name, pin or were served stays, and so does what is being fetched.
 *
 * What was learned by asking goes too, so that the next pull asks anew.
 */
import type { Holdings } from "../meta/holdings.ts";
import type { ImageRow, Images } from "../meta/images.ts";
import type { Leaving } from "../meta/leaving.ts";
import type { Tags } from "../meta/tags.ts";
import type { Absences } from "../mirror/absences.ts";
import type { Fills } from "../mirror/fills.ts";
import type { Keeping } from "../mirror/keeping.ts";
import type { Shelf } from "../mirror/shelf.ts";
import type { Sightings } from "../mirror/sightings.ts";
import type { Troubles } from "../mirror/troubles.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { DiskStore } from "../store/disk.ts";

export interface RemovalParts {
  readonly images: Images;
  readonly leaving: Leaving;
  readonly holdings: Pick<Holdings, "findUnit" | "evict">;
  readonly tags: Pick<Tags, "drop">;
  readonly shelf: Pick<Shelf, "forget">;
  readonly store: Pick<DiskStore, "discard">;
  readonly fills: Pick<Fills, "find">;
  readonly keeping: Pick<Keeping, "list" | "remove">;
  readonly absences: Pick<Absences, "forget">;
  readonly sightings: Pick<Sightings, "forget">;
  readonly troubles: Pick<Troubles, "forget">;
}

export interface RemovalPlan {
  /** Tags of the repository that go. */
  readonly tags: readonly Tag[];
  /** Other tags of the repository name it too: it stays there. */
  readonly staysNamed: boolean;
  /** What leaves the store, what names first. */
  readonly digests: readonly Digest[];
  readonly bytes: number;
}

export interface Freed {
  readonly blobs: number;
  readonly bytes: number;
}

const MAX_TAGS = 100_000;
const AT_ONCE = 20;

export class Removal {
  readonly #parts: RemovalParts;

  constructor(parts: RemovalParts) {
    this.#parts = parts;
  }

  /** @param only this one of its tags. */
  plan(row: ImageRow, only?: Tag): RemovalPlan {
    const { images, leaving } = this.#parts;
    const all = images.tagsOf(row.repositoryId, row.digest, MAX_TAGS).map(({ tag }) => tag);
    const tags = only === undefined ? all : all.filter((tag) => tag === only);
    if (all.length > tags.length) return { tags, staysNamed: true, digests: [], bytes: 0 };
    const stays = !row.isRoot || leaving.isNeededBeside(row.digest, row.repositoryId);
    const unit = stays ? [] : this.#unit(row.digest);
    return {
      tags,
      staysNamed: false,
      digests: unit.map(({ digest }) => digest),
      bytes: unit.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    };
  }

  /** @param breath is waited for now and then. @returns what left the store: less than planned, where it came to be needed. */
  async carryOut(row: ImageRow, plan: RemovalPlan, breath: () => Promise<void>): Promise<Freed> {
    const { tags, sightings, absences, troubles, leaving, shelf } = this.#parts;
    const { place, repositoryId, digest } = row;
    for (const tag of plan.tags) {
      tags.drop(place, tag);
      sightings.forget(place, tag);
      absences.forget(place, tag);
      troubles.forget(place, tag);
    }
    if (plan.staysNamed) return { blobs: 0, bytes: 0 };
    const tree = leaving.treeOf(digest);
    const freed = await this.discard(plan.digests, breath);
    // What stays for others may be read here no longer, but where another image of the repository names it. Twice: what
    // comes early may be named by what comes late.
    for (const one of [...tree, ...tree]) {
      absences.forget(place, one);
      if (!leaving.isNamedIn(repositoryId, one) && !leaving.isTaggedIn(repositoryId, one)) {
        leaving.dropPermission(repositoryId, one);
        shelf.forget(one);
      }
      await breath();
    }
    await this.#dropUnfinished(new Set(tree));
    return freed;
  }

  /** What is left of fetches that ended early, where no stored manifest names it any more. */
  async #dropUnfinished(digests: ReadonlySet<Digest>): Promise<void> {
    const { keeping, leaving } = this.#parts;
    for (const { digest } of keeping.list()) {
      if (digests.has(digest) && !leaving.isNamed(digest)) await keeping.remove(digest);
    }
  }

  /**
   * Forgets these and removes their files, what names first; but what meanwhile was pinned, tagged, named by another or
   * is fetched stays. A file whose name is gone is still read by who has it open.
   */
  async discard(digests: readonly Digest[], breath: () => Promise<void>): Promise<Freed> {
    const { holdings, leaving, shelf, store } = this.#parts;
    const freed = { blobs: 0, bytes: 0 };
    for (let at = 0; at < digests.length; at += AT_ONCE) {
      const some = digests.slice(at, at + AT_ONCE).filter((one) => !leaving.isTagged(one) && !this.isBusy(one));
      const gone = holdings.evict(some, undefined, false).map(({ digest, sizeBytes }) => {
        shelf.forget(digest);
        freed.blobs += 1;
        freed.bytes += sizeBytes;
        return store.discard(digest);
      });
      await Promise.all(gone);
      await breath();
    }
    return freed;
  }

  /** Whether a pull of it is under way. */
  isBusy(digest: Digest): boolean {
    return this.#parts.fills.find(digest) !== undefined;
  }

  #unit(root: Digest) {
    const { holdings, leaving } = this.#parts;
    if (this.isBusy(root) || this.#parts.images.isHeld(root)) return [];
    const unit = holdings.findUnit(root);
    const staying = new Set<Digest>();
    for (const { digest } of unit) {
      if (digest === root || staying.has(digest)) continue;
      if (this.isBusy(digest) || leaving.isTagged(digest)) for (const one of leaving.treeOf(digest)) staying.add(one);
    }
    return unit.filter(({ digest }) => !staying.has(digest));
  }
}
