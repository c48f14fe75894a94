/**
 * What a token server answers, read (distribution specification, "Token Authentication"). Pure.
 */
import { Failure } from "../../base/failure.ts";

const MAX_TOKEN_CHARACTERS = 64 * 1024;
/** Without a word on it (the specification's default), and at least: what is shorter costs a request for each pull. */
const FLOOR_SECONDS = 60;
const MAX_LIFE_SECONDS = 86_400;
/** The share of its life after which a token is renewed while it is used on. */
const RENEWED_AFTER = 0.8;

export interface Token {
  readonly text: string;
  /** Epoch milliseconds from which another is obtained, though this one is still good. */
  readonly renewAt: number;
  /** Epoch milliseconds from which it is not used. */
  readonly expiresAt: number;
}

/** @throws Failure `unreachable` where there is no usable token in it. */
export function parseToken(body: Buffer, receivedAt: number, server = "the token server"): Token {
  let answer: unknown;
  try {
    answer = JSON.parse(body.toString("utf8"));
  } catch {
    throw new Failure("unreachable", `${server} answered something that is not JSON`);
  }
  const fields = typeof answer === "object" && answer !== null ? (answer as Readonly<Record<string, unknown>>) : {};
  const text = [fields.token, fields.access_token].find((one) => typeof one === "string" && one !== "");
  // A token goes into a header: what cannot stand there is none.
  if (typeof text !== "string" || text.length > MAX_TOKEN_CHARACTERS || !/^[\x21-\x7e]+$/.test(text)) {
    throw new Failure("unreachable", `${server} answered 200, and its answer holds no token`);
  }
  const lifeMs = secondsOf(fields.expires_in, text) * 1000;
  const usedMs = ageOf(fields.issued_at, receivedAt, lifeMs);
  const expiresAt = receivedAt + lifeMs - usedMs;
  return { text, renewAt: receivedAt + (lifeMs - usedMs) * RENEWED_AFTER, expiresAt };
}

function secondsOf(expiresIn: unknown, token: string): number {
  const seconds = expiresIn === undefined || expiresIn === null ? lifeOfJwt(token) : Number(expiresIn);
  return Math.min(Math.max(Number.isFinite(seconds) ? seconds : 0, FLOOR_SECONDS), MAX_LIFE_SECONDS);
}

/**
 * How much of its life is gone. Zero where it is not said (then it begins now), and where it cannot be: a time to come,
 * or one so long ago that rather one of the two clocks is wrong.
 */
function ageOf(issuedAt: unknown, receivedAt: number, lifeMs: number): number {
  const ageMs = typeof issuedAt === "string" ? receivedAt - Date.parse(issuedAt) : Number.NaN;
  return ageMs > 0 && ageMs <= lifeMs / 2 ? ageMs : 0;
}

/** Seconds from `iat` to `exp` of a JWT, which Azure's tokens are, whose answers hold no `expires_in`. */
function lifeOfJwt(token: string): number {
  const payload = /^[\w-]+\.([\w-]+)\.[\w-]*$/.exec(token)?.[1];
  if (payload === undefined) return Number.NaN;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    if (typeof claims !== "object" || claims === null) return Number.NaN;
    const { exp, iat } = claims as { exp?: unknown; iat?: unknown };
    return typeof exp === "number" && typeof iat === "number" ? exp - iat : Number.NaN;
  } catch {
    return Number.NaN;
  }
}
