/**
 * What may leave the store, worth least first: a root with all that nothing else names, or holds.
 *
 * A unit is worth what the most used of its parts is; where a root's row says less, it is written down and met again in
 * its turn. But what is used twice as much as the root was shared with images that are gone: it stays when that leaves. What is in use never comes: open here, being filled in part, or asked for in the last seconds. What was used
 * in the last minute comes only where that is wished.
 */
import type { Clock } from "../base/clock.ts";
import type { Holding, Holdings, Passed } from "../meta/holdings.ts";
import type { Usage } from "../meta/usage.ts";
import { HALF_LIFE_MS } from "../meta/worth.ts";
import type { Digest } from "../oci/digest.ts";
import type { Slices } from "./slices.ts";

export interface Unit {
  readonly root: Holding;
  /** The root first, then parents before children. */
  readonly members: readonly Holding[];
  readonly worth: number;
}

export interface CandidateParts {
  readonly holdings: Pick<Holdings, "findVictims" | "findUnit" | "raise">;
  readonly usage: Pick<Usage, "isNoted">;
  readonly clock: Clock;
  /** Whether somebody reads it, or it is on its way here. */
  readonly isBusy: (digest: Digest) => boolean;
}

export interface Choice {
  /** Only what came from this upstream. */
  readonly from?: string | undefined;
  /** Only what is worth less. */
  readonly below: number;
  /** What was used in the last minute, too. */
  readonly recent: boolean;
  /** Not these, nor what goes with them. */
  readonly spare: ReadonlySet<Digest>;
}

const RECENT_MS = 60_000;
const BATCH = 64;
/** Twice the uses. */
const MUCH_MORE = HALF_LIFE_MS;

export class Candidates {
  readonly #parts: CandidateParts;
  readonly #choice: Choice;
  readonly #slices: Slices;
  #batch: Holding[] = [];
  #at = 0;
  #passed: Passed | undefined;
  #reached: "more" | "worth" | "end" = "more";
  /** How many were looked at. */
  looked = 0;

  constructor(parts: CandidateParts, choice: Choice, slices: Slices) {
    this.#parts = parts;
    this.#choice = choice;
    this.#slices = slices;
  }

  /** True where there is more, and it is worth too much. */
  get outbid(): boolean {
    return this.#reached === "worth";
  }

  async next(): Promise<Unit | undefined> {
    for (;;) {
      await this.#slices.pass();
      const root = this.#take();
      if (root === undefined) return undefined;
      const unit = this.#judge(root);
      if (unit !== undefined) return unit;
    }
  }

  #take(): Holding | undefined {
    if (this.#reached !== "more") return undefined;
    if (this.#at >= this.#batch.length) {
      const { from } = this.#choice;
      this.#batch = this.#parts.holdings.findVictims(BATCH, {
        ...(this.#passed === undefined ? {} : { after: this.#passed }),
        ...(from === undefined ? {} : { from }),
      });
      this.#at = 0;
    }
    const root = this.#batch[this.#at];
    if (root === undefined || root.worth >= this.#choice.below) {
      this.#reached = root === undefined ? "end" : "worth";
      return undefined;
    }
    this.#at += 1;
    this.#passed = root;
    this.looked += 1;
    return root;
  }

  #judge(root: Holding): Unit | undefined {
    const { holdings } = this.#parts;
    if (this.#isKept(root)) return undefined;
    const missing = new Set<Digest>();
    const members = holdings.findUnit(root.digest, missing, root.worth + MUCH_MORE);
    if (members.length === 0 || members.some((member) => this.#isKept(member))) return undefined;
    // Its other parts are on their way.
    for (const digest of missing) if (this.#parts.isBusy(digest)) return undefined;
    const worth = members.reduce((most, member) => Math.max(most, member.worth), root.worth);
    if (worth > root.worth) {
      holdings.raise(root.digest, worth);
      this.#postpone({ ...root, worth });
      return undefined;
    }
    return { root, members, worth };
  }

  /** Its turn is later: in what is loaded already, or in what will be. */
  #postpone(root: Holding): void {
    const last = this.#batch.at(-1);
    if (last === undefined || !isBefore(root, last)) return;
    let at = this.#at;
    for (let other = this.#batch[at]; other !== undefined && isBefore(other, root); other = this.#batch[at]) at += 1;
    this.#batch.splice(at, 0, root);
  }

  #isKept({ digest, lastUsedAt }: Holding): boolean {
    const { usage, clock, isBusy } = this.#parts;
    const { recent, spare } = this.#choice;
    if (spare.has(digest) || usage.isNoted(digest) || isBusy(digest)) return true;
    const agoMs = clock.now() - lastUsedAt;
    return !recent && agoMs >= 0 && agoMs < RECENT_MS;
  }
}

function isBefore(one: Passed, other: Passed): boolean {
  return one.worth < other.worth || (one.worth === other.worth && one.digest < other.digest);
}
