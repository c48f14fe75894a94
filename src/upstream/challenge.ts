/**
 * `WWW-Authenticate`, as RFC 9110 §11.6.1 defines it: challenges and their parameters share the comma as separator.
 *
 * Never throws: what is well-formed is returned, the rest is skipped. Work is bounded by the input's length, and the
 * input by `MAX_INPUT`.
 */

export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Names in lower case; where a name is repeated the first counts. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly token68: string | undefined;
}

const MAX_INPUT = 8 * 1024;
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
  const text = (typeof header === "string" ? header : header.join(", ")).slice(0, MAX_INPUT);
  const challenges: Challenge[] = [];
  let at = 0;

  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return undefined;
    at = pattern.lastIndex;
    return match;
  };

  while (challenges.length < MAX_CHALLENGES) {
    take(SEPARATORS);
    if (at >= text.length) break;
    const scheme = take(TOKEN)?.[0];
    if (scheme === undefined || (at < text.length && !/[\s,]/.test(text.charAt(at)))) {
      // No challenge begins here: on to the next comma, or past a character that ends nothing.
      const before = at;
      take(NEXT_COMMA);
      if (at === before) at++;
      continue;
    }
    let token68: string | undefined;
    const parameters = new Map<string, string>();
    if (take(SPACES) !== undefined) token68 = take(TOKEN68)?.[1];
    while (token68 === undefined && parameters.size < MAX_PARAMETERS) {
      const start = at;
      take(SEPARATORS);
      const name = take(PARAMETER_NAME)?.[1]?.toLowerCase();
      if (name === undefined) {
        at = start;
        break;
      }
      const value = take(QUOTED)?.[1]?.replace(/\\([\s\S])/g, "$1") ?? take(BARE)?.[0];
      if (value === undefined) {
        take(NEXT_COMMA);
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
