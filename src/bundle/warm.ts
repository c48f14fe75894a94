/**
 * Fetches whole images ahead of demand, through the same fills as clients' pulls, at lower priority and within what
 * upstreams allow. What is stored is not fetched again, so a run that was broken off goes on where it was.
 *
 * One failing image does not stop the others; an upstream that is away stops its images soon. When whoever asked leaves,
 * nothing more is begun, and what runs is left to the policy of fills.
 */
import { Failure } from "../base/failure.ts";
import { CompanionBook } from "./warm-companions.ts";
import { WarmPace } from "./warm-pace.ts";
import { MAX_IMAGES, type WarmParts, WarmRun } from "./warm-run.ts";
import { parseUntagged, parseWarmName } from "./warm-target.ts";
import type { WarmEvent, WarmRequest, WarmSummary } from "./warm-told.ts";

export type { WarmParts } from "./warm-run.ts";
export type { WarmEvent, WarmRequest, WarmSummary } from "./warm-told.ts";

const MAX_RUNS = 4;
const PROGRESS_MS = 500;

export class Warmer {
  readonly #parts: WarmParts;
  readonly #pace: WarmPace;
  readonly #book: CompanionBook;
  #runs = 0;

  constructor(parts: WarmParts) {
    this.#parts = parts;
    this.#pace = new WarmPace(parts.clock, parts.notices);
    this.#book = new CompanionBook(parts.clock);
  }

  /**
   * Tells how it goes until all is done; leaving it early ends it.
   * @throws Failure `invalid` (of the request), `denied` (offline), `overloaded`; the signal's reason.
   */
  async *run(request: WarmRequest, signal: AbortSignal): AsyncGenerator<WarmEvent, WarmSummary> {
    const { clock, offline } = this.#parts;
    checkRequest(request);
    const names = request.references.map(request.allTags === undefined ? parseWarmName : parseUntagged);
    if (offline) throw new Failure("denied", "the mirror is offline: it contacts no upstream, and can warm nothing");
    if (this.#runs >= MAX_RUNS) throw new Failure("overloaded", `${MAX_RUNS} runs are under way already`);
    this.#runs += 1;
    const run = new WarmRun(this.#parts, { pace: this.#pace, book: this.#book }, request, signal);
    try {
      const work = run.work(names);
      while (!run.isOver) {
        yield* run.takeEvents();
        if (run.isOver) break;
        if (await run.stirred(clock, PROGRESS_MS)) continue;
        yield run.progress();
      }
      yield* run.takeEvents();
      return await work;
    } finally {
      run.end();
      await run.settled;
      this.#runs -= 1;
      this.#parts.notices.emit("warmed", run.fact());
    }
  }

  /** No more runs; those that run end by their signals. */
  stop(): void {
    this.#pace.stop();
  }
}

function checkRequest({ references }: WarmRequest): void {
  if (references.length === 0) throw new Failure("invalid", "expected at least one image, such as alpine:3.20");
  if (references.length > MAX_IMAGES) throw new Failure("invalid", `more than ${MAX_IMAGES} images`);
}
