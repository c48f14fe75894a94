/**
 * What can be told of a registry before it is asked for anything: its family by its address, or by what it answered, and
 * what that one documents. Data of others, so it is told and nothing is done by it. Pure.
 */
import { type DefaultLimit, FAMILIES, type Family, findFamily, type Signs } from "../registries/families.ts";
import { findKnownAt } from "../registries/known.ts";

export interface SeenFamily {
  readonly name: Family;
  readonly title: string;
  readonly knownBy: "address" | "answer";
  /** Is there anything to be had without credentials? */
  readonly anonymous: "all" | "some" | "none";
  readonly referrers: "yes" | "no" | "not known";
  /** Hosts that blobs are usually redirected to. */
  readonly redirectsTo: readonly string[];
}

/** @param said undefined where nothing was. */
export function lookAtFamily(endpoint: URL, said: Signs | undefined): SeenFamily | undefined {
  const known = findKnownAt(endpoint);
  const found = known ?? (said === undefined ? undefined : findFamily(said));
  if (found === undefined) return undefined;
  const { family, title, anonymous, redirectsTo, referrers } = found;
  return {
    ...{ name: family, title, anonymous, redirectsTo },
    knownBy: known === undefined ? "answer" : "address",
    referrers: referrers === "some" ? "not known" : referrers ? "yes" : "no",
  };
}

/** What a family says of who asks without an account, or with one; empty where it says nothing. */
export function documentedLimits(family: Family | undefined, who: DefaultLimit["who"]): readonly DefaultLimit[] {
  return family === undefined ? [] : FAMILIES[family].limits.filter((limit) => limit.who === who);
}
