/**
 * The origin side in this process: the door of `origin.ts` as plain calls.
 *
 * A tag is asked for by HEAD first, and a manifest is fetched only where its digest is new: on registries that count
 * pulls, a HEAD costs nothing. The order of writing is: verify, store, link, tag.
 */

import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { Singleflight } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import { type Place, placeKey, tagKey } from "../meta/repositories.ts";
import type { Tags } from "../meta/tags.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import { type Absence, type BlobHead, isAbsence, MAX_MANIFEST_BYTES, type ManifestBody } from "../upstream/upstream.ts";
import type { Absences } from "./absences.ts";
import type { Fills } from "./fills.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Fetched, Flown, Origin, Sighting } from "./origin.ts";
import type { Route } from "./route.ts";
import type { Shelf, ShelvedManifest } from "./shelf.ts";
import type { Sightings } from "./sightings.ts";
import type { Ticket } from "./ticket.ts";
import type { Troubles } from "./troubles.ts";

export interface LocalOriginParts {
  readonly tags: Tags;
  readonly graph: Graph;
  readonly shelf: Shelf;
  readonly fills: Fills;
  readonly absences: Absences;
  readonly sightings: Sightings;
  readonly troubles: Troubles;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

const MAX_EXPECTED = 20_000;
const MAX_EXPECTED_TAGS = 100;

export class LocalOrigin implements Origin {
  readonly #parts: LocalOriginParts;
  readonly #abort = new AbortController();
  /** Tags that were seen to name a digest which is not stored yet, by place and digest. */
  readonly #expected = new LRUCache<string, Set<Tag>>({ max: MAX_EXPECTED });
  readonly #sighting = new Singleflight<Sighting | Absence | undefined>();
  readonly #refreshing = new Singleflight<Fetched | Absence>();
  readonly #fetching = new Singleflight<Fetched | Absence>();
  readonly #confirming = new Singleflight<BlobHead | Absence>();

  constructor(parts: LocalOriginParts) {
    this.#parts = parts;
  }

  findSighting(route: Route, tag: Tag): Sighting | undefined {
    return this.#parts.sightings.find(route, tag);
  }

  findAbsence(route: Route, what: string): Absence | undefined {
    return this.#parts.absences.find(route, what);
  }

  findFill(digest: Digest): Place | undefined {
    return this.#parts.fills.find(digest)?.route;
  }

  findTrouble(route: Route, tag: Tag): Failure | undefined {
    return this.#parts.troubles.find(route, tag);
  }

  sightTag(route: Route, tag: Tag): Flown<Sighting | Absence | undefined> {
    return this.#sighting.run(tagKey(route, tag), async () => {
      const { upstream } = route.source;
      const at = this.#parts.clock.now();
      const head = await upstream.headManifest(route.repository, { type: "tag", tag }, this.#abort.signal);
      if (isAbsence(head)) return this.#untagged(route, tag, head);
      this.#parts.absences.forget(route, tag);
      const { digest, mediaType, sizeBytes } = head;
      if (digest === undefined || mediaType === undefined || sizeBytes === undefined) return undefined;
      if (sizeBytes > MAX_MANIFEST_BYTES) throw new Failure("corrupt", `the manifest has ${sizeBytes} bytes`);
      const sighting = { digest, mediaType, sizeBytes, at };
      this.#parts.sightings.remember(route, tag, sighting);
      const stored = await this.#parts.shelf.find(digest);
      if (stored === undefined) this.#expect(route, tag, digest);
      else this.#name(route, tag, stored, at);
      return sighting;
    });
  }

  refreshTag(route: Route, tag: Tag): Flown<Fetched | Absence> {
    return this.#refreshing.run(tagKey(route, tag), async () => {
      try {
        const answer = await this.#refresh(route, tag);
        this.#parts.troubles.forget(route, tag);
        return answer;
      } catch (error) {
        if (isFailure(error) && !this.#abort.signal.aborted) this.#parts.troubles.remember(route, tag, error);
        throw error;
      }
    });
  }

  async #refresh(route: Route, tag: Tag): Promise<Fetched | Absence> {
    const sighting = this.findSighting(route, tag) ?? (await this.sightTag(route, tag).outcome);
    if (sighting !== undefined && isAbsence(sighting)) return sighting;
    const fetched = sighting === undefined ? undefined : await this.#fetchSighted(route, sighting);
    const answer = fetched ?? (await this.#fetchByTag(route, tag));
    if (!isAbsence(answer) && answer.kept) this.#name(route, tag, answer.manifest, answer.checkedAt);
    return answer;
  }

  fetchManifest(route: Route, digest: Digest): Flown<Fetched | Absence> {
    return this.#fetching.run(`${placeKey(route)}@${digest}`, async () => {
      const stored = await this.#parts.shelf.find(digest);
      return stored === undefined ? await this.#fetchByDigest(route, digest) : await this.#confirm(route, stored);
    });
  }

  confirmBlob(route: Route, digest: Digest): Flown<BlobHead | Absence> {
    return this.#confirming.run(`${placeKey(route)}@${digest}`, async () => {
      const head = await route.source.upstream.headBlob(route.repository, digest, this.#abort.signal);
      if (isAbsence(head)) return this.#absent(route, digest, head);
      this.#record("a permission could not be recorded", () =>
        this.#parts.graph.link(route, [{ digest, sizeBytes: head.sizeBytes ?? -1, confirmed: true }]),
      );
      return head;
    });
  }

  fillBlob(route: Route, digest: Digest, sizeHint: number | undefined): Ticket {
    const ticket = this.#parts.fills.join(route, digest, sizeHint);
    if (!ticket.joined) {
      ticket.ready.then(
        (absence) => {
          if (absence !== undefined) this.#absent(route, digest, absence);
        },
        () => {},
      );
    }
    return ticket;
  }

  /** Ends what runs; nothing partial is left on disk when this resolves. */
  async stop(): Promise<void> {
    this.#abort.abort(new Failure("overloaded", "the mirror is shutting down"));
    await this.#parts.fills.stop();
    await Promise.all([this.#refreshing, this.#fetching, this.#sighting, this.#confirming].map((f) => f.settled()));
  }

  /** The tag was seen to name this digest, in this repository, just now. */
  async #fetchSighted(route: Route, sighting: Sighting): Promise<Fetched | undefined> {
    const stored = await this.#parts.shelf.find(sighting.digest);
    if (stored !== undefined) return { manifest: stored, fetched: false, kept: true, checkedAt: sighting.at };
    const answer = await this.#fetchByDigest(route, sighting.digest);
    // The tag may have moved on, and the old manifest be gone, since the HEAD: then the tag itself is asked.
    if (isAbsence(answer)) return undefined;
    return { ...answer, checkedAt: sighting.at };
  }

  async #fetchByTag(route: Route, tag: Tag): Promise<Fetched | Absence> {
    const at = this.#parts.clock.now();
    const { upstream } = route.source;
    const body = await upstream.getManifest(route.repository, { type: "tag", tag }, this.#abort.signal);
    return isAbsence(body) ? this.#untagged(route, tag, body) : await this.#keep(route, body, undefined, at);
  }

  async #fetchByDigest(route: Route, digest: Digest): Promise<Fetched | Absence> {
    const at = this.#parts.clock.now();
    const { upstream } = route.source;
    const body = await upstream.getManifest(route.repository, { type: "digest", digest }, this.#abort.signal);
    return isAbsence(body) ? this.#absent(route, digest, body) : await this.#keep(route, body, digest, at);
  }

  async #keep(route: Route, body: ManifestBody, expected: Digest | undefined, at: number): Promise<Fetched> {
    const { manifest, kept } = await this.#parts.shelf.keep(route, body, expected);
    if (kept) this.#fulfil(route, manifest);
    return { manifest, fetched: true, kept, checkedAt: at };
  }

  async #confirm(route: Route, stored: ShelvedManifest): Promise<Fetched | Absence> {
    const at = this.#parts.clock.now();
    const { upstream } = route.source;
    const reference = { type: "digest", digest: stored.digest } as const;
    const head = await upstream.headManifest(route.repository, reference, this.#abort.signal);
    if (isAbsence(head)) return this.#absent(route, stored.digest, head);
    this.#parts.shelf.link(route, stored, true);
    return { manifest: stored, fetched: false, kept: true, checkedAt: at };
  }

  /** Writes down what a tag names: its manifest is stored, and permission comes before the name. */
  #name(route: Route, tag: Tag, manifest: ShelvedManifest, checkedAt: number): void {
    this.#parts.shelf.link(route, manifest, true);
    this.#record("a tag could not be recorded", () => this.#parts.tags.put(route, tag, manifest.digest, checkedAt));
  }

  /** containerd and dockerd ask what a tag names by HEAD and fetch by digest: the tag is written down when that comes. */
  #expect(route: Route, tag: Tag, digest: Digest): void {
    const key = `${placeKey(route)}@${digest}`;
    const tags = this.#expected.get(key) ?? new Set();
    this.#expected.set(key, tags.size < MAX_EXPECTED_TAGS ? tags.add(tag) : tags);
  }

  #fulfil(route: Route, manifest: ShelvedManifest): void {
    const key = `${placeKey(route)}@${manifest.digest}`;
    for (const tag of this.#expected.get(key) ?? []) {
      const sighting = this.#parts.sightings.last(route, tag);
      if (sighting?.digest === manifest.digest) this.#name(route, tag, manifest, sighting.at);
    }
    this.#expected.delete(key);
  }

  /**
   * The upstream no longer has the tag. What is stored of it is not served as if nothing had happened; it is kept for the
   * case that the upstream fails, as it was before.
   */
  #untagged(route: Route, tag: Tag, absence: Absence): Absence {
    this.#parts.sightings.forget(route, tag);
    const entry = this.#parts.tags.find(route, tag);
    const mustAskAt = this.#parts.clock.now() - route.source.freshness.staleWhileRevalidate;
    if (entry !== undefined && entry.checkedAt > mustAskAt) {
      this.#record("a tag could not be recorded", () => this.#parts.tags.put(route, tag, entry.digest, mustAskAt));
    }
    return this.#absent(route, tag, absence);
  }

  #absent(route: Route, what: string, absence: Absence): Absence {
    this.#parts.absences.remember(route, what, absence);
    return absence;
  }

  /** What the database will not take does not keep anyone from an answer that is already here. */
  #record(message: string, write: () => void): void {
    try {
      write();
    } catch (cause) {
      this.#parts.notices.emit("storageTrouble", { message, cause });
    }
  }
}
