/**
 * Manifests and lists for warming: from what is stored where that will do, through the same door as clients' where not.
 *
 * The invariant: a manifest that resolved is stored, and may be read in its repository.
 */

import type { Clock } from "../base/clock.ts";
import { pause } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import { unlessAborted } from "../base/singleflight.ts";
import type { Graph } from "../meta/graph.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Tags } from "../meta/tags.ts";
import type { AbsentAnswer } from "../mirror/absent.ts";
import type { AgedPage, ListQuestion, Pages } from "../mirror/aged.ts";
import type { Fetched, Origin } from "../mirror/origin.ts";
import { mayRead } from "../mirror/permission.ts";
import type { Route } from "../mirror/route.ts";
import type { Shelf, ShelvedManifest } from "../mirror/shelf.ts";
import type { Digest } from "../oci/digest.ts";
import { type Reference, referenceText, type Tag } from "../oci/reference.ts";
import { type Absence, isAbsence } from "../upstream/upstream.ts";
import { notKept } from "./warm-blobs.ts";
import { ATTEMPTS, isPassing, isRefusedQuestion, type LimitWaits, retryWaitMs } from "./warm-limits.ts";
import { keepWorth, type Worth } from "./warm-worth.ts";

export interface WarmDocumentParts {
  readonly origin: Pick<Origin, "sightTag" | "refreshTag" | "fetchManifest">;
  readonly tags: Pick<Tags, "find">;
  readonly graph: Pick<Graph, "findReachable">;
  readonly inventory: Pick<Inventory, "findUpstream">;
  readonly shelf: Pick<Shelf, "find" | "link">;
  readonly pages: Pages;
  readonly usage: Worth;
  readonly clock: Clock;
  /** 0 ≤ x < 1. */
  readonly random?: (() => number) | undefined;
}

export interface WarmedManifest {
  readonly manifest: ShelvedManifest;
  /** False where it was stored before. */
  readonly fetched: boolean;
}

/** A list of a registry is read so far. */
const MAX_PAGES = 100;

export class WarmDocuments {
  readonly #parts: WarmDocumentParts;
  readonly #limits: LimitWaits;
  readonly #signal: AbortSignal;

  constructor(parts: WarmDocumentParts, limits: LimitWaits, signal: AbortSignal) {
    this.#parts = parts;
    this.#limits = limits;
    this.#signal = signal;
  }

  /**
   * What a tag names now.
   * @returns how the upstream says no, where it does: registries deny what does not exist as well.
   * @throws Failure.
   */
  async findTag(route: Route, tag: Tag): Promise<WarmedManifest | Absence> {
    const { origin, shelf } = this.#parts;
    const seen = await this.ask(route, () => origin.sightTag(route, tag).outcome);
    if (seen !== undefined && isAbsence(seen)) return seen;
    const stored = seen === undefined ? undefined : await shelf.find(seen.digest);
    if (stored === undefined) await this.#limits.forPull(route, { type: "tag", tag });
    const fetched = await this.ask(route, () => origin.refreshTag(route, tag).outcome);
    return isAbsence(fetched) ? fetched : this.#warmed(fetched);
  }

  /** @throws Failure, `unknown` where the upstream has none. */
  async manifest(route: Route, digest: Digest): Promise<WarmedManifest> {
    const { graph, inventory, shelf, usage, origin } = this.#parts;
    const stored = await shelf.find(digest);
    if (stored !== undefined) {
      if (mayRead(graph.findReachable(route, digest), inventory.findUpstream(digest), route.upstream)) {
        shelf.link(route, stored, false);
        keepWorth(usage, digest);
        return { manifest: stored, fetched: false };
      }
    } else await this.#limits.forPull(route, { type: "digest", digest });
    const fetched = await this.ask(route, () => origin.fetchManifest(route, digest).outcome);
    if (!isAbsence(fetched)) return this.#warmed(fetched);
    throw missing(route, { type: "digest", digest }, fetched);
  }

  /** All pages of a list; undefined where the upstream has no such list, or knows of none. @throws Failure. */
  async list(route: Route, question: ListQuestion, member: "tags" | "manifests"): Promise<unknown[] | undefined> {
    const found: unknown[] = [];
    let query: string | undefined = question.query;
    for (let page = 0; query !== undefined; page += 1) {
      if (page === MAX_PAGES) throw new Failure("overloaded", `the list of ${route.repository} is too long`);
      const asked: ListQuestion = { ...question, query };
      const answer = await this.#page(route, asked);
      if (answer === undefined) return undefined;
      if ("absence" in answer) return page === 0 ? undefined : found;
      // What is old is no answer to who wants to have what is there.
      if (answer.verdict.cache === "stale" && answer.verdict.reason !== "refreshing") {
        throw new Failure(
          "unreachable",
          `${route.upstream} could not be asked: ${answer.warning ?? "it does not answer"}`,
        );
      }
      found.push(...entriesOf(answer.page.bytes, member));
      query = answer.page.nextQuery;
    }
    return found;
  }

  async #page(route: Route, question: ListQuestion): Promise<AgedPage | AbsentAnswer | undefined> {
    try {
      return await this.ask(route, () => this.#parts.pages.find(route, question, { signal: this.#signal }));
    } catch (error) {
      if (isRefusedQuestion(error)) return undefined;
      throw error;
    }
  }

  /** Asks again where that may help, and waits where the upstream limits us. @throws Failure. */
  async ask<T>(route: Route, question: () => Promise<T>): Promise<T> {
    const { clock, random = Math.random } = this.#parts;
    for (let attempt = 1; ; attempt += 1) {
      this.#signal.throwIfAborted();
      try {
        return await unlessAborted(question(), this.#signal);
      } catch (error) {
        this.#signal.throwIfAborted();
        if (isFailure(error, "limited")) {
          await this.#limits.afterRefusal(route.upstream, error);
          attempt -= 1;
        } else if (attempt < ATTEMPTS && isPassing(error)) {
          await pause(clock, retryWaitMs(attempt, random()), this.#signal);
        } else throw error;
      }
    }
  }

  #warmed({ manifest, fetched, kept }: Fetched): WarmedManifest {
    if (!kept) throw notKept("the cache is full, or the disk failed");
    if (!fetched) keepWorth(this.#parts.usage, manifest.digest);
    return { manifest, fetched };
  }
}

export function missing(route: Route, reference: Reference, { absent }: Absence): Failure {
  const words = absent === "denied" ? "does not give us" : "has no";
  const mark = reference.type === "tag" ? ":" : "@";
  return new Failure(absent, `${route.upstream} ${words} ${route.repository}${mark}${referenceText(reference)}`);
}

function entriesOf(bytes: Buffer, member: string): unknown[] {
  let document: unknown;
  try {
    document = JSON.parse(bytes.toString("utf8"));
  } catch (cause) {
    throw new Failure("corrupt", "the upstream's list is not JSON", { cause });
  }
  const entries: unknown =
    typeof document === "object" && document !== null ? Reflect.get(document, member) : undefined;
  return Array.isArray(entries) ? entries : [];
}
