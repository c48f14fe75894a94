/**
 * Which repositories of an upstream may be pulled: globs over the repository's name inside its registry.
 *
 * `*` is any text inside one component, `**` any number of components, none included. The matcher never backtracks
 * over more than one star, so its cost is bounded by the product of the lengths.
 */
import { Failure } from "../../base/failure.ts";
import type { Repository } from "../../oci/reference.ts";

export interface RepositoryRules {
  /** At least one must match. */
  readonly allow: readonly string[];
  /** None may match; stronger than `allow`. */
  readonly deny: readonly string[];
}

export function mayPull(rules: RepositoryRules, repository: string): boolean {
  const matches = (pattern: string) => matchesGlob(pattern, repository);
  return rules.allow.some(matches) && !rules.deny.some(matches);
}

/** @throws Failure `denied` with code DENIED. */
export function requireMayPull(rules: RepositoryRules, registry: string, repository: Repository): void {
  if (mayPull(rules, repository)) return;
  throw new Failure("denied", `the rules of this mirror do not allow ${repository} from ${registry}`, {
    code: "DENIED",
    detail: { registry, repository },
  });
}

export function matchesGlob(pattern: string, name: string): boolean {
  return matchStars(pattern.split("/"), name.split("/"), "**", matchesComponent);
}

function matchesComponent(pattern: string, component: string): boolean {
  if (!pattern.includes("*")) return pattern === component;
  return matchStars([...pattern], [...component], "*", (one, other) => one === other);
}

/** Greedy matching with one point of return: the last star that was seen. */
function matchStars(
  pattern: readonly string[],
  items: readonly string[],
  star: string,
  same: (pattern: string, item: string) => boolean,
): boolean {
  let p = 0;
  let i = 0;
  let starAt = -1;
  let resumeAt = 0;
  while (i < items.length) {
    const wanted = pattern[p];
    if (wanted === star) {
      starAt = p++;
      resumeAt = i;
    } else if (wanted !== undefined && same(wanted, items[i] ?? "")) {
      p++;
      i++;
    } else if (starAt >= 0) {
      p = starAt + 1;
      i = ++resumeAt;
    } else {
      return false;
    }
  }
  while (pattern[p] === star) p++;
  return p === pattern.length;
}
