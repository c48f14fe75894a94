/**
 * Which of our accounts at one upstream is shown for a repository: the ones the configuration maps to it before the
 * ones for everything, and of those the one that has most left.
 *
 * An account that was refused or has nothing to show, or that has to wait, is passed over while there is another; where all
 * that are mapped are of no use, those for everything are shown. One that was refused is chosen where there is none, for what
 * it holds may be another credential by now (its authorizer refuses the same one again without a request). Anonymous is what
 * we are where none is for the repository.
 */
import { Failure } from "../../base/failure.ts";
import type { Repository } from "../../oci/reference.ts";
import { matchesGlob } from "../registries/repositories.ts";

/** What the choice is made by. */
export interface Candidate {
  readonly account: string;
  /** Globs over repositories; `**` alone is everything. */
  readonly repositories: readonly string[];
  /** That it was refused, or had nothing to show, and that still counts. */
  findTrouble(): Failure | undefined;
  /** How long until it may ask this; 0 is now. */
  waitMs(): number;
  /** Pulls that are left; undefined where no limit is known. */
  readonly left: number | undefined;
}

/** Those that are for the repository, in the order of the configuration; empty means anonymous. */
export function eligible<C extends Pick<Candidate, "repositories">>(
  accounts: readonly C[],
  repository: Repository,
): readonly C[] {
  const mapped = accounts.filter((one) => !isForAll(one) && matches(one, repository));
  return mapped.length > 0 ? mapped : accounts.filter(isForAll);
}

/** Those for everything, where others are mapped to the repository. */
export function fallbacks<C extends Pick<Candidate, "repositories">>(
  accounts: readonly C[],
  repository: Repository,
): readonly C[] {
  return accounts.some((one) => !isForAll(one) && matches(one, repository)) ? accounts.filter(isForAll) : [];
}

function isForAll({ repositories }: Pick<Candidate, "repositories">): boolean {
  return repositories.includes("**");
}

function matches({ repositories }: Pick<Candidate, "repositories">, repository: string): boolean {
  return repositories.some((pattern) => matchesGlob(pattern, repository));
}

/**
 * One of those that are eligible.
 * @throws Failure `limited` where all that are not refused have to wait, the refusal where those that are have to as well.
 */
export function chooseAccount<C extends Candidate>(name: string, candidates: readonly C[]): C {
  let refused: { readonly candidate: C; readonly refusal: Failure } | undefined;
  let best: C | undefined;
  let shortestMs = Number.POSITIVE_INFINITY;
  let waiting: C | undefined;
  for (const candidate of candidates) {
    const refusal = candidate.findTrouble();
    if (refusal !== undefined) {
      refused ??= { candidate, refusal };
      continue;
    }
    const waitMs = candidate.waitMs();
    if (waitMs > 0) {
      if (waitMs < shortestMs) waiting = candidate;
      shortestMs = Math.min(shortestMs, waitMs);
    } else if (best === undefined || leftOf(candidate) > leftOf(best)) best = candidate;
  }
  if (best !== undefined) return best;
  if (waiting !== undefined) {
    const others = candidates.length === 1 ? "" : ` (nor any other of ${candidates.length} accounts)`;
    const text = `${name} allows ${waiting.account} no more requests for now${others}`;
    throw new Failure("limited", text, { retryAfterMs: shortestMs });
  }
  if (refused === undefined) throw new Error("no account to choose from");
  if (refused.candidate.waitMs() > 0) throw refused.refusal;
  return refused.candidate;
}

function leftOf({ left }: Candidate): number {
  return left ?? Number.POSITIVE_INFINITY;
}
