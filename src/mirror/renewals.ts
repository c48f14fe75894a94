/**
 * Takes over what a stored tag names now, whole: the new manifest, and of an index the manifests of those platforms that
 * are stored of the old one, before the tag moves. Where the budget does not allow it nothing is begun, and the old image
 * goes on being served, whole as well.
 */
import { Failure } from "../base/failure.ts";
import type { Digest } from "../oci/digest.ts";
import { platformsIn } from "../oci/platform.ts";
import { failureOfBudget } from "../upstream/exchange/trouble.ts";
import { isAbsence } from "../upstream/upstream.ts";
import type { Fetches } from "./fetches.ts";
import type { Fetched } from "./origin.ts";
import type { Pledges } from "./pledges.ts";
import type { Route } from "./route.ts";
import type { Shelf, ShelvedManifest } from "./shelf.ts";
import { mayTakeOver, putOffMs } from "./spending.ts";

export interface RenewalParts {
  readonly shelf: Pick<Shelf, "find">;
  readonly pledges: Pledges;
  readonly fetches: Pick<Fetches, "fetch">;
}

export class Renewals {
  readonly #parts: RenewalParts;

  constructor(parts: RenewalParts) {
    this.#parts = parts;
  }

  /**
   * Fetches and stores what is missing; the tag is the caller's to move, when this resolves.
   * @param old what the tag named before, stored.
   * @throws Failure `limited` where the budget does not cover it; nothing was asked for then.
   */
  async takeOver(route: Route, old: ShelvedManifest, digest: Digest, checkedAt: number): Promise<Fetched> {
    const { shelf, pledges } = this.#parts;
    const stored = await shelf.find(digest);
    const platforms = await this.#storedPlatforms(old);
    const missing = stored === undefined ? undefined : await this.#missing(stored, platforms);
    const pulls = missing?.length ?? 1 + platforms.size;
    // What is being fetched is counted twice until it is here: where that is what is missing, it is waited for.
    for (let ended: Promise<void> | undefined; !this.#fits(route, pulls); await ended) {
      ended = pledges.whenOneEnds(route.upstream);
      if (ended === undefined) throw putOff(route);
    }
    // From that look to here nothing else runs.
    const held = pledges.hold(route.upstream, pulls);
    try {
      const fetched = stored === undefined ? await this.#fetch(route, digest) : undefined;
      const manifest = stored ?? fetched?.manifest;
      // It moved on, and the old one is gone, since the HEAD.
      if (manifest === undefined)
        throw new Failure("unreachable", `${route.upstream}: the tag moves while it is asked for`);
      if (fetched !== undefined) held.spend();
      // Without room for it, what it names would be asked for again with every pull.
      if (fetched?.kept === false) return { ...fetched, checkedAt };
      for (const child of missing ?? (await this.#missing(manifest, platforms))) {
        // What the index names and the registry has not is the loss of who asks for it, and of nobody else.
        await this.#fetch(route, child);
        held.spend();
      }
      return { ...(fetched ?? { manifest, fetched: false, kept: true }), checkedAt };
    } finally {
      held.end();
    }
  }

  /** How many pulls whoever is told of a change will need. */
  async costOf(old: ShelvedManifest): Promise<number> {
    return 1 + (await this.#storedPlatforms(old)).size;
  }

  #fits(route: Route, pulls: number): boolean {
    const budget = route.source.upstream.budget(route.repository);
    return mayTakeOver(budget, this.#parts.pledges.of(route.upstream), pulls);
  }

  async #fetch(route: Route, digest: Digest): Promise<Fetched | undefined> {
    const answer = await this.#parts.fetches.fetch(route, digest, "refresh");
    return isAbsence(answer) ? undefined : answer;
  }

  async #storedPlatforms(index: ShelvedManifest): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    for (const { digest, platform } of platformsIn(index.bytes)) {
      if (!found.has(platform) && (await this.#parts.shelf.find(digest)) !== undefined) found.add(platform);
    }
    return found;
  }

  async #missing(index: ShelvedManifest, platforms: ReadonlySet<string>): Promise<Digest[]> {
    const missing = new Set<Digest>();
    for (const { digest, platform } of platformsIn(index.bytes)) {
      if (platforms.has(platform) && (await this.#parts.shelf.find(digest)) === undefined) missing.add(digest);
    }
    return [...missing];
  }
}

function putOff(route: Route): Failure {
  const budget = route.source.upstream.budget(route.repository);
  const { limit, remaining } = budget ?? { limit: undefined, remaining: undefined };
  return failureOfBudget(route.upstream, { limit, remaining }, putOffMs(budget));
}
