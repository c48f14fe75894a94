/**
 * One run: so many images at a time, from their names to a summary. What ends early begins nothing more.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import type { Notices } from "../base/notices.ts";
import { placeKey } from "../meta/repositories.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Source } from "../mirror/route.ts";
import type { Digest } from "../oci/digest.ts";
import { parseTag, referenceText } from "../oci/reference.ts";
import type { RoutingTable } from "../upstream/registries/routing.ts";
import { type WarmBlobParts, WarmBlobs } from "./warm-blobs.ts";
import type { CompanionBook } from "./warm-companions.ts";
import { type WarmDocumentParts, WarmDocuments } from "./warm-documents.ts";
import { WarmImage } from "./warm-image.ts";
import { LimitWaits } from "./warm-limits.ts";
import type { WarmPace } from "./warm-pace.ts";
import { Tally } from "./warm-tally.ts";
import { routeWarmName, tagsMatching, type WarmName, type WarmTarget } from "./warm-target.ts";
import type { RunningImage, WarmEvent, WarmFailure, WarmRequest, WarmSummary } from "./warm-told.ts";

export interface WarmParts extends WarmDocumentParts, WarmBlobParts {
  readonly origin: WarmDocumentParts["origin"] & WarmBlobParts["origin"];
  readonly graph: WarmBlobParts["graph"];
  readonly inventory: WarmDocumentParts["inventory"] & WarmBlobParts["inventory"];
  readonly routing: RoutingTable<Source>;
  readonly notices: Notices<MirrorNotices>;
  readonly offline: boolean;
}

const IMAGES_AT_ONCE = 3;
export const MAX_IMAGES = 5000;
/** Of one repository by `allTags`. */
const MAX_TAGS = 500;
const LOOKS_AT_ONCE = 200;
/** To observers. */
const TOLD_FAILURES = 10;
/** After so many images in a row that could not be had from an upstream, it is not asked for the others. */
const OUTAGE = 3;

export class WarmRun {
  readonly #parts: WarmParts;
  readonly #request: WarmRequest;
  readonly #abort = new AbortController();
  readonly #limits: LimitWaits;
  readonly #documents: WarmDocuments;
  readonly #blobs: WarmBlobs;
  readonly #book: CompanionBook;
  readonly #tally = new Tally();
  readonly #startedAt: number;
  readonly #running = new Set<WarmImage>();
  readonly #failed: WarmFailure[] = [];
  /** What the images are made of that were had. */
  readonly #warmed = new Map<string, readonly Digest[]>();
  /** Images in a row that could not be had, by upstream. */
  readonly #outages = new Map<string, number>();
  readonly #bytes = { fetched: 0, stored: 0 };
  readonly #unfollow: () => void;
  #events: WarmEvent[] = [];
  #stir = () => {};
  #images = 0;
  #ended = 0;
  #isOver = false;
  #isBrokenOff = false;
  settled: Promise<unknown> = Promise.resolve();

  constructor(
    parts: WarmParts,
    shared: { readonly pace: WarmPace; readonly book: CompanionBook },
    request: WarmRequest,
    outer: AbortSignal,
  ) {
    this.#parts = parts;
    this.#request = request;
    this.#book = shared.book;
    const { clock } = parts;
    const { signal } = this.#abort;
    const onAbort = () => this.#abort.abort(outer.reason);
    outer.addEventListener("abort", onAbort, { once: true });
    this.#unfollow = () => outer.removeEventListener("abort", onAbort);
    if (outer.aborted) onAbort();
    this.#startedAt = clock.now();
    this.#limits = new LimitWaits({ clock, patienceMs: request.waitMs, signal });
    this.#documents = new WarmDocuments(parts, this.#limits, signal);
    this.#blobs = new WarmBlobs(parts, { pace: shared.pace, tally: this.#tally, signal });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  work(names: readonly WarmName[]): Promise<WarmSummary> {
    const work = this.#work(names).finally(() => {
      this.#isOver = true;
      this.#stir();
    });
    this.settled = work.catch(() => {});
    return work;
  }

  takeEvents(): readonly WarmEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** True as soon as there is something to tell, false when nothing was for so long. */
  async stirred(clock: Clock, forMs: number): Promise<boolean> {
    if (this.#events.length > 0 || this.#isOver) return true;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#stir = () => resolve(true);
    const cancel = clock.after(forMs, () => resolve(false));
    try {
      return await promise;
    } finally {
      cancel();
    }
  }

  progress(): WarmEvent {
    const running = [...this.#running].map(({ target, sums }): RunningImage => {
      const { upstream } = target.route;
      const ms = this.#limits.leftMs(upstream);
      return {
        reference: target.written,
        ...sums,
        ...(ms === undefined ? {} : { waiting: { what: `${upstream}'s limit`, ms } }),
      };
    });
    const total = { ...this.#tally.sums, images: this.#images, ended: this.#ended };
    return { event: "progress", running, total };
  }

  /** What observers are told, when it is over. */
  fact(): MirrorNotices["warmed"] {
    return {
      images: this.#ended,
      fetchedBytes: this.#bytes.fetched,
      storedBytes: this.#bytes.stored,
      durationMs: this.#parts.clock.now() - this.#startedAt,
      failed: this.#failed.slice(0, TOLD_FAILURES),
      failedImages: this.#failed.length,
      scheduled: this.#request.scheduled === true,
      brokenOff: this.#isBrokenOff,
    };
  }

  /** Nothing more is begun. */
  end(): void {
    this.#isBrokenOff ||= !this.#isOver || this.#abort.signal.aborted;
    this.#unfollow();
    this.#abort.abort(new Failure("overloaded", "whoever asked has left"));
  }

  async #work(names: readonly WarmName[]): Promise<WarmSummary> {
    this.#images = names.length;
    const targets = await this.#targets(names);
    this.#images = targets.length + this.#ended;
    const queue = targets.values();
    await Promise.all(Array.from({ length: IMAGES_AT_ONCE }, () => this.#takeFrom(queue)));
    await this.#lookAgain();
    this.#abort.signal.throwIfAborted();
    return {
      images: this.#images,
      fetchedBytes: this.#bytes.fetched,
      storedBytes: this.#bytes.stored,
      durationMs: this.#parts.clock.now() - this.#startedAt,
      failed: this.#failed,
    };
  }

  async #takeFrom(queue: Iterator<WarmTarget>): Promise<void> {
    for (let next = queue.next(); next.done !== true; next = queue.next()) {
      if (this.#abort.signal.aborted) return;
      await this.#warm(next.value);
    }
  }

  async #warm(target: WarmTarget): Promise<void> {
    const { clock } = this.#parts;
    const { upstream } = target.route;
    if ((this.#outages.get(upstream) ?? 0) >= OUTAGE) {
      this.#fail(
        target.written,
        new Failure("unreachable", `${upstream} was not asked: it could not be reached before`),
      );
      return;
    }
    const parts = { documents: this.#documents, blobs: this.#blobs, book: this.#book };
    const image = new WarmImage(parts, target, this.#request.platforms);
    const startedAt = clock.now();
    this.#running.add(image);
    try {
      const { parts: all, ...warmed } = await image.run();
      this.#warmed.set(target.written, all);
      this.#outages.delete(upstream);
      this.#bytes.fetched += warmed.fetchedBytes;
      this.#bytes.stored += warmed.storedBytes;
      this.#ended += 1;
      this.#tell({ event: "image", reference: target.written, ...warmed, durationMs: clock.now() - startedAt });
    } catch (error) {
      // What was broken off has not failed.
      if (this.#abort.signal.aborted) return;
      if (isFailure(error, "unreachable")) this.#outages.set(upstream, (this.#outages.get(upstream) ?? 0) + 1);
      else this.#outages.delete(upstream);
      this.#fail(target.written, error);
    } finally {
      this.#running.delete(image);
    }
  }

  /** What was fetched first may have made room for what came last. */
  async #lookAgain(): Promise<void> {
    let looks = 0;
    for (const [reference, digests] of this.#warmed) {
      for (const digest of digests) {
        looks += 1;
        if (looks % LOOKS_AT_ONCE === 0) await new Promise((resolve) => setImmediate(resolve));
        if (this.#abort.signal.aborted) return;
        if (this.#parts.inventory.findSize(digest) !== undefined) continue;
        this.#ended -= 1;
        this.#fail(reference, new Failure("storage", "not kept: there is no room in the cache for all of them"));
        break;
      }
    }
  }

  /** The images that are meant, each once. What cannot be routed has failed. */
  async #targets(names: readonly WarmName[]): Promise<WarmTarget[]> {
    const found = new Map<string, WarmTarget>();
    for (const name of names) {
      this.#abort.signal.throwIfAborted();
      try {
        const route = routeWarmName(this.#parts.routing, name);
        const targets =
          this.#request.allTags === undefined
            ? [{ written: name.written, route, reference: name.reference }]
            : await this.#tagged(name, route, this.#request.allTags);
        for (const target of targets) found.set(`${placeKey(route)} ${referenceText(target.reference)}`, target);
        if (found.size > MAX_IMAGES) throw new Failure("invalid", `more than ${MAX_IMAGES} images`);
      } catch (error) {
        this.#abort.signal.throwIfAborted();
        this.#fail(name.written, error);
      }
    }
    return [...found.values()].slice(0, MAX_IMAGES);
  }

  async #tagged(name: WarmName, route: WarmTarget["route"], pattern: string): Promise<WarmTarget[]> {
    const listed = await this.#documents.list(route, { of: "tags", query: "" }, "tags");
    if (listed === undefined) throw new Failure("unknown", `${route.upstream} has no ${route.repository}`);
    const all = listed.filter((tag) => typeof tag === "string");
    const tags = tagsMatching(all, pattern);
    if (tags.length === 0) throw new Failure("unknown", `none of its ${all.length} tags matches ${pattern}`);
    if (tags.length > MAX_TAGS) {
      throw new Failure(
        "invalid",
        `${tags.length} tags match ${pattern}, and ${MAX_TAGS} are taken at most; name fewer`,
      );
    }
    return tags.map((tag) => ({
      written: `${name.written}:${tag}`,
      route,
      reference: { type: "tag", tag: parseTag(tag) },
    }));
  }

  #fail(reference: string, error: unknown): void {
    this.#ended += 1;
    const bug = { kind: "bug", message: "internal error" };
    const told = isFailure(error) ? { kind: error.kind, message: error.message } : bug;
    if (!isFailure(error)) this.#parts.notices.emit("backgroundFailed", { what: `warming ${reference}`, cause: error });
    const failure = { reference, ...told };
    this.#failed.push(failure);
    this.#tell({ event: "imageFailed", ...failure });
  }

  #tell(event: WarmEvent): void {
    this.#events.push(event);
    this.#stir();
  }
}
