/**
 * What an answer says of limits: pure, from headers and the beginning of an error's body.
 *
 * Read are Docker Hub's `ratelimit-*` (docs.docker.com/docker-hub/usage/pulls), the fields of
 * draft-ietf-httpapi-ratelimit-headers (three of them, or one `RateLimit`), `x-ratelimit-*`, and what registries write into a
 * 429: GHCR `retry-after: 1.16ms, allowed: 44000/minute`, ECR `Rate exceeded`, Quay a web page.
 */
import { findCount, findRetryAfter } from "../exchange/trouble.ts";

export interface LimitsSaid {
  readonly limit: number | undefined;
  readonly remaining: number | undefined;
  readonly windowMs: number | undefined;
  /** In how many milliseconds the window turns. */
  readonly resetMs: number | undefined;
  /** Whom it counts: an address or an account's id. */
  readonly source: string | undefined;
}

/**
 * What a 429 refuses.
 *
 * - `pulls`: the quota of a window is used up.
 * - `rate`: too much at once (ECR, GHCR, others that say how long); over in seconds.
 * - `abuse`: nothing is said (Docker Hub's bare "429 Too Many Requests", Quay's page).
 */
export interface Refusal {
  readonly of: "pulls" | "rate" | "abuse";
  /** From `Retry-After`, or from the message. */
  readonly waitMs: number | undefined;
}

type Headers = Readonly<Record<string, string | string[] | undefined>>;

export const DAY_MS = 86_400_000;
const MAX_SOURCE = 128;
/** What is greater is no number of seconds to wait, but a time: GitLab and others send Unix seconds. */
const EPOCH_SECONDS = 1_000_000_000;

/** Undefined where the answer names no limit at all. */
export function findLimits(headers: Headers, now: number): LimitsSaid | undefined {
  const joint = parseJoint(textOf(headers, "ratelimit"));
  const policy = textOf(headers, "ratelimit-policy");
  const limitText = textOf(headers, "ratelimit-limit") ?? textOf(headers, "x-ratelimit-limit");
  const remainingText = textOf(headers, "ratelimit-remaining") ?? textOf(headers, "x-ratelimit-remaining");
  const limit = findCount(limitText) ?? joint.limit ?? findCount(policy) ?? parameterOf(policy, "q");
  const remaining = findCount(remainingText) ?? joint.remaining;
  // A limit of nothing is how some say that there is none.
  if (limit === 0 || (limit === undefined && remaining === undefined)) return undefined;
  const windowSeconds = parameterOf(limitText, "w") ?? parameterOf(remainingText, "w") ?? parameterOf(policy, "w");
  const resetText = textOf(headers, "ratelimit-reset") ?? textOf(headers, "x-ratelimit-reset");
  const source = textOf(headers, "docker-ratelimit-source");
  return {
    limit,
    remaining,
    windowMs: windowSeconds === undefined ? undefined : bounded(windowSeconds * 1000),
    resetMs: resetOf(resetText, now) ?? (joint.reset === undefined ? undefined : bounded(joint.reset * 1000)),
    source: source === undefined ? undefined : readable(source),
  };
}

/** What a 429 means. @param errorBody its beginning; empty after HEAD. */
export function judgeRefusal(headers: Headers, errorBody: string, now: number): Refusal {
  const waitMs = findRetryAfter(textOf(headers, "retry-after"), now) ?? findWaitInText(errorBody);
  const usedUp = findLimits(headers, now)?.remaining === 0;
  if (usedUp || /pull rate limit|increase-rate-limit/i.test(errorBody)) return { of: "pulls", waitMs };
  return { of: waitMs !== undefined || /rate exceeded/i.test(errorBody) ? "rate" : "abuse", waitMs };
}

const UNITS: ReadonlyMap<string, number> = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["µs", 1e-3],
  ["μs", 1e-3],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

/** `retry-after: 1m2.5s` in a message, as Go writes durations; whole milliseconds, at most a day. */
function findWaitInText(text: string): number | undefined {
  const match = /retry-after:\s*((?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|μs|ms|s|m|h))+)/i.exec(text)?.[1];
  if (match === undefined) return undefined;
  let sumMs = 0;
  for (const [, count = "", unit = ""] of match.matchAll(/([\d.]+)(ns|us|µs|μs|ms|s|m|h)/gi)) {
    sumMs += Number(count) * (UNITS.get(unit.toLowerCase()) ?? 0);
  }
  return Math.ceil(bounded(sumMs));
}

/** `limit=100, remaining=50, reset=5` of drafts up to 07, `"default";r=50;t=5` of the later ones. */
function parseJoint(text: string | undefined) {
  return {
    limit: parameterOf(text, "limit"),
    remaining: parameterOf(text, "remaining") ?? parameterOf(text, "r"),
    reset: parameterOf(text, "reset") ?? parameterOf(text, "t"),
  };
}

function parameterOf(text: string | undefined, name: string): number | undefined {
  if (text === undefined) return undefined;
  const digits = new RegExp(`(?:^|[;,\\s])${name}\\s*=\\s*(\\d{1,9})(?!\\d)`, "i").exec(text)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

function resetOf(text: string | undefined, now: number): number | undefined {
  const digits = text === undefined ? undefined : /^\s*(\d{1,12})(?!\d)/.exec(text)?.[1];
  if (digits === undefined) return undefined;
  const seconds = Number(digits);
  return bounded(seconds >= EPOCH_SECONDS ? seconds * 1000 - now : seconds * 1000);
}

function bounded(delayMs: number): number {
  return Math.min(Math.max(delayMs, 0), DAY_MS);
}

function readable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "").slice(0, MAX_SOURCE);
}

function textOf(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}
