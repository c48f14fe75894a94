/**
 * What a token is asked for (distribution specification, "Token Scope Documentation"). Pure.
 *
 * The invariant: no token of ours can do more than read, whatever a challenge names.
 */
import type { Repository } from "../../oci/reference.ts";
import type { TokenRequest } from "./tokens.ts";

/** `metadata_read` is what Azure asks for a list. */
const READING = new Set(["pull", "metadata_read"]);

/** `repository:<name>:<actions>`, the class in brackets kept. */
const OF_REPOSITORY = /^(repository(?:\([^)]*\))?):(.+):([^:]+)$/;

/** `repository:<other>:<…>` becomes ours, to pull, unless it was said for us; no scope at all becomes the usual one. */
export function scopesFor(scopes: readonly string[], repository: Repository, verbatim: boolean): readonly string[] {
  if (scopes.length === 0) return [`repository:${repository}:pull`];
  if (verbatim) return readOnly(scopes);
  // What was asked for a list (Azure: `metadata_read`) is not good for what is asked next.
  const ours = (scope: string) => scope.replace(OF_REPOSITORY, `$1:${repository}:pull`);
  return [...new Set(scopes.map(ours))];
}

/** Some challenges name all that the account may do: `pull,push,delete`, `*`. */
export function readOnly(scopes: readonly string[]): readonly string[] {
  const reduced = (scope: string) =>
    scope.replace(OF_REPOSITORY, (_whole, type: string, name: string, actions: string) => {
      const kept = actions.split(",").filter((action) => READING.has(action));
      return `${type}:${name}:${kept.length === 0 ? "pull" : kept.join(",")}`;
    });
  return [...new Set(scopes.map(reduced))];
}

export function sameRequest(one: TokenRequest, other: TokenRequest): boolean {
  return (
    one.realm.href === other.realm.href &&
    one.service === other.service &&
    one.scopes.length === other.scopes.length &&
    one.scopes.every((scope) => other.scopes.includes(scope))
  );
}
