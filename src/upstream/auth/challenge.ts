/**
 * `WWW-Authenticate`, as RFC 9110 §11.6.1 defines it: challenges and their parameters share the comma as separator.
 *
 * Never throws: what is well-formed is returned, the rest is skipped. Work is bounded by the input's length, and the
 * input by `FieldText`.
 */
import { FieldText } from "../exchange/fieldtext.ts";

export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case; where a name is repeated the first counts. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly token68: string | undefined;
}

const MAX_CHALLENGES = 16;
const MAX_PARAMETERS = 32;

const SEPARATORS = /[\s,]*/y;
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const SPACES = /[ \t]+/y;
const TOKEN68 = /([A-Za-z0-9\-._~+/]+=*)[ \t]*(?=,|$)/y;
const PARAMETER_NAME = /([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*=[ \t]*/y;
const QUOTED = /"((?:[^"\\]|\\[\s\S])*)"/y;
/** Wider than a token: registries have been seen with bare URLs. */
const BARE = /[^\s,"]+/y;
const NEXT_COMMA = /(?:[^,"]|"(?:[^"\\]|\\[\s\S])*"|")*/y;

export function parseChallenges(header: string | readonly string[] | undefined): readonly Challenge[] {
  if (header === undefined) return [];
  const field = new FieldText(header);
  const challenges: Challenge[] = [];

  while (challenges.length < MAX_CHALLENGES) {
    field.take(SEPARATORS);
    if (field.ended) break;
    const scheme = field.take(TOKEN)?.[0];
    if (scheme === undefined || (!field.ended && !/[\s,]/.test(field.text.charAt(field.at)))) {
      // No challenge begins here: on to the next comma, or past a character that ends nothing.
      const before = field.at;
      field.take(NEXT_COMMA);
      if (field.at === before) field.at += 1;
      continue;
    }
    let token68: string | undefined;
    const parameters = new Map<string, string>();
    if (field.take(SPACES) !== undefined) token68 = field.take(TOKEN68)?.[1];
    while (token68 === undefined && parameters.size < MAX_PARAMETERS) {
      const start = field.at;
      field.take(SEPARATORS);
      const name = field.take(PARAMETER_NAME)?.[1]?.toLowerCase();
      if (name === undefined) {
        field.at = start;
        break;
      }
      const value = field.take(QUOTED)?.[1]?.replace(/\\([\s\S])/g, "$1") ?? field.take(BARE)?.[0];
      if (value === undefined) {
        field.take(NEXT_COMMA);
        break;
      }
      if (!parameters.has(name)) parameters.set(name, value);
    }
    challenges.push({ scheme: scheme.toLowerCase(), parameters, token68 });
  }
  return challenges;
}

/** The one to answer: Bearer, which hands the password to a token server only, before Basic; no other is known. */
export function chooseChallenge(challenges: readonly Challenge[]): Challenge | undefined {
  return (
    challenges.find((one) => one.scheme === "bearer" && one.parameters.has("realm")) ??
    challenges.find((one) => one.scheme === "basic")
  );
}
