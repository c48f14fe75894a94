/**
 * Where a call goes: a source (an upstream with our policy for it) and the repository's name there.
 */
import type { Place } from "../meta/repositories.ts";
import type { Repository } from "../oci/reference.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { FreshnessPolicy } from "./freshness.ts";

export interface Source {
  /** As in the configuration and in image references. */
  readonly name: string;
  readonly upstream: Upstream;
  readonly freshness: FreshnessPolicy;
  /** How many ranges may be passed through at once. */
  readonly maxPasses: number;
  /** How many connections one large blob may be fetched by. */
  readonly segments: number;
}

export interface Route extends Place {
  readonly source: Source;
}

export function makeRoute(source: Source, repository: Repository): Route {
  return { source, upstream: source.name, repository };
}
