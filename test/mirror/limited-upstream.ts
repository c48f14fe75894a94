/**
 * An upstream in memory that counts pulls and says what is left, and the origin side and the front of a mirror before it.
 */
import { Failure } from "../../src/base/failure.ts";
import { Notices } from "../../src/base/notices.ts";
import { Absences } from "../../src/mirror/absences.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { Fills } from "../../src/mirror/fills.ts";
import { LocalOrigin } from "../../src/mirror/local-origin.ts";
import { type ManifestAnswer, Manifests } from "../../src/mirror/manifests.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import { Shelf } from "../../src/mirror/shelf.ts";
import { Sightings } from "../../src/mirror/sightings.ts";
import { Troubles } from "../../src/mirror/troubles.ts";
import { type Digest, parseDigest } from "../../src/oci/digest.ts";
import { parseReference, parseRepository, parseTag, type Reference, referenceText } from "../../src/oci/reference.ts";
import { DiskStore } from "../../src/store/disk.ts";
import type { BudgetView } from "../../src/upstream/limits/budget.ts";
import type { Absence, ManifestBody, ManifestHead, Upstream } from "../../src/upstream/upstream.ts";
import type { Urgency } from "../../src/upstream/urgency.ts";
import { ManualClock } from "../kit/clock.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { Shelves } from "../kit/shelves.ts";
import { withRooms } from "../meta/rooms.ts";
import { POLICY } from "./parts.ts";

const REPOSITORY = "library/demo";
const WINDOW_MS = 21_600_000;

export class LimitedUpstream implements Upstream {
  readonly name = "docker.io";
  readonly shelves = new Shelves();
  /** `HEAD 1 refresh`, in order. */
  readonly asked: string[] = [];
  readonly #clock: ManualClock;
  limit: number | undefined = 100;
  left = 100;
  closedUntil = 0;
  saidAt = 0;
  /** Waited for by every GET. */
  gate: Promise<void> | undefined;

  constructor(clock: ManualClock) {
    this.#clock = clock;
    this.saidAt = clock.now();
  }

  count(method: "HEAD" | "GET"): number {
    return this.asked.filter((line) => line.startsWith(method)).length;
  }

  async headManifest(
    _repository: string,
    reference: Reference,
    _signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<ManifestHead | Absence> {
    const found = this.#ask("HEAD", reference, urgency);
    if (found === undefined) return { absent: "unknown" };
    const { content, mediaType } = found;
    return { digest: content.digest, mediaType, sizeBytes: content.sizeBytes };
  }

  async getManifest(
    _repository: string,
    reference: Reference,
    _signal: AbortSignal,
    urgency: Urgency = "miss",
  ): Promise<ManifestBody | Absence> {
    const found = this.#ask("GET", reference, urgency);
    this.left -= 1;
    await this.gate;
    if (found === undefined) return { absent: "unknown" };
    const { content, mediaType } = found;
    return { bytes: content.bytes, mediaType, digest: content.digest };
  }

  #ask(method: "HEAD" | "GET", reference: Reference, urgency: Urgency) {
    const now = this.#clock.now();
    const waitMs = this.closedUntil > now ? this.closedUntil - now : 0;
    if (waitMs > 0 || (this.limit !== undefined && this.left <= 0)) {
      throw new Failure("limited", "no pulls left", { retryAfterMs: waitMs || 60_000 });
    }
    this.asked.push(`${method} ${referenceText(reference)} ${urgency}`);
    this.saidAt = now;
    return this.shelves.findManifest(REPOSITORY, referenceText(reference));
  }

  budget(): BudgetView {
    const remaining = this.limit === undefined ? undefined : this.left;
    const { limit, saidAt, closedUntil } = this;
    return { limit, remaining, windowMs: WINDOW_MS, saidAt, closedUntil, source: undefined };
  }

  headBlob = unasked;
  openBlob = unasked;
  listTags = unasked;
  listReferrers = unasked;
  async close(): Promise<void> {}
}

function unasked(): never {
  throw new Error("nobody asks for this");
}

/** What containerd does: HEAD of the tag, GET of what it names, GET of its platform. */
export interface Scene {
  readonly clock: ManualClock;
  readonly upstream: LimitedUpstream;
  /** Of the store. */
  readonly limits: { maxBytes: number | undefined; minFreeBytes: number };
  /** Puts a new image for two platforms under the tag. */
  publish(tag: string, version: number): { readonly index: Digest; readonly amd64: Digest; readonly arm64: Digest };
  head(tag: string): Promise<ManifestAnswer>;
  get(reference: string): Promise<ManifestAnswer>;
  /** The digests of index and amd64 manifest that it got. */
  pull(tag: string): Promise<{ readonly index: Digest; readonly amd64: Digest }>;
  /** Asks what the tag names, as is done behind answers; with how it failed, if it did. */
  refresh(tag: string): Promise<Failure | undefined>;
}

export async function withScene(work: (scene: Scene) => Promise<void>): Promise<void> {
  await withRooms(async ({ tags, graph, inventory }, directory) => {
    const clock = new ManualClock();
    const upstream = new LimitedUpstream(clock);
    const notices = new Notices<MirrorNotices>();
    const store = await DiskStore.open(directory);
    const limits: Scene["limits"] = { maxBytes: undefined, minFreeBytes: 0 };
    const capacity = new Capacity({ store, inventory, limits, clock, notices });
    const shelf = new Shelf({ store, capacity, inventory, graph, clock, notices });
    const fills = new Fills({ store, capacity, inventory, graph, clock, notices });
    const remembered = {
      absences: new Absences(clock),
      sightings: new Sightings(clock),
      troubles: new Troubles(clock),
    };
    const origin = new LocalOrigin({ tags, graph, shelf, fills, ...remembered, clock, notices });
    const usage = { note() {} };
    const manifests = new Manifests({ tags, graph, inventory, shelf, origin, usage, clock, notices, offline: false });
    const source = { name: upstream.name, upstream, freshness: POLICY, maxPasses: 1, segments: 1 };
    const route = makeRoute(source, parseRepository(REPOSITORY));
    const caller = { signal: new AbortController().signal };
    const ask = async (reference: string, wantBody: boolean) => {
      const answer = await manifests.answer(route, parseReference(reference), wantBody, caller);
      if ("absence" in answer) throw new Error(`${reference} is not there`);
      return answer;
    };
    const scene: Scene = {
      clock,
      upstream,
      limits,
      publish(tag, version) {
        const seed = version * 1000 + Number(tag);
        const images = ["amd64", "arm64"].map((architecture, at) =>
          makeImage({ layers: [10], seed: seed * 2 + at, architecture }),
        );
        const index = makeIndex(images);
        upstream.shelves.add(REPOSITORY, index, tag);
        const [amd64 = index.digest, arm64 = index.digest] = images.map(({ digest }) => digest);
        return { index: index.digest, amd64, arm64 };
      },
      head: (tag) => ask(tag, false),
      get: (reference) => ask(reference, true),
      async pull(tag) {
        const { digest } = await ask(tag, false);
        const index = await ask(digest, true);
        const { manifests: named } = JSON.parse(String(index.bytes)) as { manifests: { digest: string }[] };
        const image = await ask(named[0]?.digest ?? "", true);
        return { index: parseDigest(digest), amd64: image.digest };
      },
      async refresh(tag) {
        try {
          await origin.refreshTag(route, parseTag(tag)).outcome;
          return undefined;
        } catch (error) {
          if (error instanceof Failure) return error;
          throw error;
        }
      },
    };
    try {
      await work(scene);
    } finally {
      await origin.stop();
      await store.stop();
    }
  });
}
