/**
 * The origin side in this process: the door of `origin.ts` as plain calls.
 *
 * A tag is asked for by HEAD first, and a manifest is fetched only where its digest is new: on registries that count
 * pulls, a HEAD costs nothing. Where pulls are limited, what is stored is asked for the less the fewer are left
 * (`spending.ts`), and a change is taken over whole (`renewals.ts`). The order of writing is: verify, store, link, tag.
 */
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import { Singleflight } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import { type Place, tagKey } from "../meta/repositories.ts";
import type { TagEntry, Tags } from "../meta/tags.ts";
import { findTagSubject } from "../oci/cosign.ts";
import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import { failureOfBudget } from "../upstream/exchange/trouble.ts";
import { type Absence, type BlobHead, isAbsence, MAX_MANIFEST_BYTES } from "../upstream/upstream.ts";
import type { Urgency } from "../upstream/urgency.ts";
import type { Absences } from "./absences.ts";
import { Fetches, keyOf } from "./fetches.ts";
import type { Fills } from "./fills.ts";
import { mayServeStale } from "./freshness.ts";
import type { MirrorNotices } from "./notices.ts";
import type { Fetched, Flown, Origin, Sighting } from "./origin.ts";
import { inTime, PATIENCE_MS, silenceOf } from "./patience.ts";
import { Pledges } from "./pledges.ts";
import { Renewals } from "./renewals.ts";
import type { Route } from "./route.ts";
import type { Shelf, ShelvedManifest } from "./shelf.ts";
import type { Sightings } from "./sightings.ts";
import { isTight, mayTakeOver, putOffMs, savedMs } from "./spending.ts";
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

/** Stored, and young enough to be served should the upstream fail. */
interface Servable {
  readonly entry: TagEntry;
  readonly manifest: ShelvedManifest;
}

interface Seen {
  readonly sighting: Sighting;
  readonly old: Servable | undefined;
}

const MAX_EXPECTED = 20_000;
const MAX_EXPECTED_TAGS = 100;

export class LocalOrigin implements Origin {
  readonly #parts: LocalOriginParts;
  readonly #abort = new AbortController();
  /** Tags that were seen to name a digest which is not stored yet, by place and digest. */
  readonly #expected = new LRUCache<string, Set<Tag>>(atMost(MAX_EXPECTED));
  readonly #pledges: Pledges;
  readonly #fetches: Fetches;
  readonly #renewals: Renewals;
  readonly #looking = new Singleflight<Seen | Absence | undefined>();
  readonly #sighting = new Singleflight<Sighting | Absence | undefined>();
  readonly #renewing = new Singleflight<Fetched>();
  readonly #refreshing = new Singleflight<Fetched | Absence>();
  readonly #fetching = new Singleflight<Fetched | Absence>();
  readonly #confirming = new Singleflight<BlobHead | Absence>();

  constructor(parts: LocalOriginParts) {
    this.#parts = parts;
    const { clock, shelf, absences } = parts;
    const pledges = new Pledges(clock);
    this.#pledges = pledges;
    this.#fetches = new Fetches({ shelf, absences, pledges, clock, signal: this.#abort.signal });
    this.#renewals = new Renewals({ shelf, pledges, fetches: this.#fetches });
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
    return this.#timed(
      route,
      this.#sighting.run(tagKey(route, tag), () =>
        this.#troubled(route, tag, async () => {
          const seen = await this.#look(route, tag);
          if (seen === undefined || isAbsence(seen)) return seen;
          const { sighting, old } = seen;
          if (old !== undefined && old.manifest.digest !== sighting.digest) {
            const { upstream } = route;
            const cost = await this.#renewals.costOf(old.manifest);
            const budget = route.source.upstream.budget(route.repository);
            // Whoever is told of a new image comes for it next, and must not find that it cannot be had.
            if (isTight(budget, this.#pledges.of(upstream) + cost))
              return await this.#renewed(route, tag, old, sighting);
            if (budget?.limit !== undefined) this.#pledges.make(upstream, keyOf(route, sighting.digest), cost);
          }
          await this.#tell(route, tag, sighting);
          return sighting;
        }),
      ),
    );
  }

  refreshTag(route: Route, tag: Tag): Flown<Fetched | Absence> {
    return this.#timed(
      route,
      this.#refreshing.run(tagKey(route, tag), () => this.#troubled(route, tag, () => this.#refresh(route, tag))),
    );
  }

  async #refresh(route: Route, tag: Tag): Promise<Fetched | Absence> {
    const known = this.findSighting(route, tag);
    const seen =
      known === undefined
        ? await this.#look(route, tag)
        : { sighting: known, old: await this.#findServable(route, tag) };
    if (seen !== undefined && isAbsence(seen)) return seen;
    if (seen === undefined) return this.#named(route, tag, await this.#fetchUnsighted(route, tag));
    const { sighting, old } = seen;
    const limited = route.source.upstream.budget(route.repository)?.limit !== undefined;
    if (limited && old !== undefined && old.manifest.digest !== sighting.digest) {
      return await this.#renew(route, tag, old, sighting);
    }
    if (known === undefined) await this.#tell(route, tag, sighting);
    const urgency = old === undefined ? "miss" : "refresh";
    const fetched = await this.#fetchSighted(route, sighting, urgency);
    return this.#named(route, tag, fetched ?? (await this.#fetchByTag(route, tag, urgency)));
  }

  /**
   * What the upstream says the tag names, by HEAD; nobody is told of it yet. Undefined where it does not say.
   * @throws Failure `limited` where what is stored will do for a while, as pulls are short.
   */
  #look(route: Route, tag: Tag): Promise<Seen | Absence | undefined> {
    return this.#looking.run(tagKey(route, tag), async () => {
      const { upstream, freshness } = route.source;
      const old = await this.#findServable(route, tag);
      const at = this.#parts.clock.now();
      if (old !== undefined) {
        const budget = upstream.budget(route.repository);
        const ageMs = at - old.entry.checkedAt;
        const waitMs = savedMs(budget, this.#pledges.of(route.upstream), ageMs, freshness, at);
        if (waitMs > 0 && budget !== undefined) throw failureOfBudget(upstream.name, budget, waitMs);
      }
      const urgency = old === undefined ? "miss" : "refresh";
      const head = await upstream.headManifest(route.repository, { type: "tag", tag }, this.#abort.signal, urgency);
      if (isAbsence(head)) return this.#untagged(route, tag, head);
      this.#parts.absences.forget(route, tag);
      const { digest, mediaType, sizeBytes } = head;
      if (digest === undefined || mediaType === undefined || sizeBytes === undefined) return undefined;
      if (sizeBytes > MAX_MANIFEST_BYTES) throw new Failure("corrupt", `the manifest has ${sizeBytes} bytes`);
      return { sighting: { digest, mediaType, sizeBytes, at }, old };
    }).outcome;
  }

  async #tell(route: Route, tag: Tag, sighting: Sighting): Promise<void> {
    this.#parts.sightings.remember(route, tag, sighting);
    const stored = await this.#parts.shelf.find(sighting.digest);
    if (stored === undefined) this.#expect(route, tag, sighting.digest);
    else this.#name(route, tag, stored, sighting.at);
  }

  /** What the tag names in our book, where it is stored and may be served although the upstream was not asked. */
  async #findServable(route: Route, tag: Tag): Promise<Servable | undefined> {
    const { tags, shelf, clock } = this.#parts;
    const entry = tags.find(route, tag);
    if (entry === undefined || !mayServeStale(entry.checkedAt, route.source.freshness, clock.now())) return undefined;
    const manifest = await shelf.find(entry.digest);
    return manifest === undefined ? undefined : { entry, manifest };
  }

  #renew(route: Route, tag: Tag, old: Servable, sighting: Sighting): Promise<Fetched> {
    return this.#renewing.run(`${tagKey(route, tag)}@${sighting.digest}`, async () => {
      const fetched = await this.#renewals.takeOver(route, old.manifest, sighting.digest, sighting.at);
      if (fetched.kept) {
        this.#name(route, tag, fetched.manifest, sighting.at);
        this.#fulfil(route, fetched.manifest);
      }
      return fetched;
    }).outcome;
  }

  async #renewed(route: Route, tag: Tag, old: Servable, sighting: Sighting): Promise<Sighting> {
    const { kept } = await this.#renew(route, tag, old, sighting);
    if (!kept) throw new Failure("storage", "there is no room for what the tag names now");
    this.#parts.sightings.remember(route, tag, sighting);
    return sighting;
  }

  #named(route: Route, tag: Tag, answer: Fetched | Absence): Fetched | Absence {
    if (!isAbsence(answer) && answer.kept) this.#name(route, tag, answer.manifest, answer.checkedAt);
    return answer;
  }

  /**
   * A failure is remembered, so that what is stored can be served without asking again, and so is silence, so that of those
   * who come while it lasts only the first waits; an answer ends that.
   */
  async #troubled<T>(route: Route, tag: Tag, work: () => Promise<T>): Promise<T> {
    const { clock, troubles } = this.#parts;
    const cancel = clock.after(PATIENCE_MS, () => troubles.remember(route, tag, silenceOf(route.upstream)));
    try {
      const answer = await work();
      troubles.forget(route, tag);
      return answer;
    } catch (error) {
      if (isFailure(error) && !this.#abort.signal.aborted) troubles.remember(route, tag, error);
      throw error;
    } finally {
      cancel();
    }
  }

  fetchManifest(route: Route, digest: Digest): Flown<Fetched | Absence> {
    return this.#timed(
      route,
      this.#fetching.run(keyOf(route, digest), async () => {
        const stored = await this.#parts.shelf.find(digest);
        return stored === undefined
          ? await this.#fetchByDigest(route, digest, "miss")
          : await this.#confirm(route, stored);
      }),
    );
  }

  /** Whoever comes again joins what still runs. */
  #timed<T>(route: Route, { outcome, joined }: Flown<T>): Flown<T> {
    return { outcome: inTime(this.#parts.clock, route.upstream, outcome), joined };
  }

  confirmBlob(route: Route, digest: Digest): Flown<BlobHead | Absence> {
    return this.#confirming.run(keyOf(route, digest), async () => {
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
    const asked = [this.#sighting, this.#refreshing, this.#fetching, this.#confirming];
    const within = [this.#looking, this.#renewing, this.#fetches];
    await Promise.all([...asked, ...within].map((flights) => flights.settled()));
  }

  /** The tag was seen to name this digest, in this repository, just now. */
  async #fetchSighted(route: Route, sighting: Sighting, urgency: Urgency): Promise<Fetched | undefined> {
    const stored = await this.#parts.shelf.find(sighting.digest);
    if (stored !== undefined) return { manifest: stored, fetched: false, kept: true, checkedAt: sighting.at };
    const answer = await this.#fetchByDigest(route, sighting.digest, urgency);
    // The tag may have moved on, and the old manifest be gone, since the HEAD: then the tag itself is asked.
    if (isAbsence(answer)) return undefined;
    return { ...answer, checkedAt: sighting.at };
  }

  /** By GET, as its HEAD does not tell: a pull with every look. */
  async #fetchUnsighted(route: Route, tag: Tag): Promise<Fetched | Absence> {
    if ((await this.#findServable(route, tag)) === undefined) return await this.#fetchByTag(route, tag, "miss");
    const budget = route.source.upstream.budget(route.repository);
    if (budget !== undefined && !mayTakeOver(budget, this.#pledges.of(route.upstream), 1)) {
      throw failureOfBudget(route.upstream, budget, putOffMs(budget));
    }
    return await this.#fetchByTag(route, tag, "refresh");
  }

  async #fetchByTag(route: Route, tag: Tag, urgency: Urgency): Promise<Fetched | Absence> {
    const at = this.#parts.clock.now();
    const { upstream } = route.source;
    const body = await upstream.getManifest(route.repository, { type: "tag", tag }, this.#abort.signal, urgency);
    if (isAbsence(body)) return this.#untagged(route, tag, body);
    const { manifest, kept } = await this.#parts.shelf.keep(route, body, undefined);
    if (kept) this.#fulfil(route, manifest);
    return { manifest, fetched: true, kept, checkedAt: at };
  }

  async #fetchByDigest(route: Route, digest: Digest, urgency: Urgency): Promise<Fetched | Absence> {
    const answer = await this.#fetches.fetch(route, digest, urgency);
    if (!isAbsence(answer) && answer.kept) this.#fulfil(route, answer.manifest);
    return answer;
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

  /**
   * Writes down what a tag names: its manifest is stored, and permission comes before the name. Answers overtake one
   * another: what the upstream said later stays.
   */
  #name(route: Route, tag: Tag, manifest: ShelvedManifest, checkedAt: number): void {
    const { shelf, tags, clock } = this.#parts;
    shelf.link(route, manifest, true);
    this.#record("a tag could not be recorded", () => {
      const said = tags.find(route, tag)?.checkedAt ?? checkedAt;
      if (said <= checkedAt || said > clock.now()) tags.put(route, tag, manifest.digest, checkedAt);
      const subject = findTagSubject(tag);
      if (subject !== undefined) shelf.attach(manifest, subject);
    });
  }

  /** containerd and dockerd ask what a tag names by HEAD and fetch by digest: the tag is written down when that comes. */
  #expect(route: Route, tag: Tag, digest: Digest): void {
    const key = keyOf(route, digest);
    const tags = this.#expected.get(key) ?? new Set();
    this.#expected.set(key, tags.size < MAX_EXPECTED_TAGS ? tags.add(tag) : tags);
  }

  #fulfil(route: Route, manifest: ShelvedManifest): void {
    const key = keyOf(route, manifest.digest);
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
