/**
 * After a break of a body that a fill was receiving: whether to ask for the rest, and when. Pure.
 *
 * An upstream that is away, or has no time for us, is waited for while somebody waits for the blob; one that answers and
 * always breaks off is given up soon. Every wait is bounded by the time since the break.
 */
import { type Failure, isFailure } from "../base/failure.ts";

/** A resumption that brings less counts as none. */
export const PROGRESS_BYTES = 64 * 1024;
const MAX_FRUITLESS = 3;
/** How long after a break the rest is asked for, by whether somebody waits for it. */
const AWAITED_MS = 30_000;
const UNAWAITED_MS = 5000;

/** First wait and longest; each is twice the one before. */
const WAITS = {
  away: { firstMs: 100, longestMs: 2000 },
  busy: { firstMs: 250, longestMs: 4000 },
  /** A limit is not passed by asking often. */
  limited: { firstMs: 1000, longestMs: 8000 },
} as const;

/**
 * - `cut`: it answered, and broke off, or has another answer than bytes;
 * - `away`: it gave no answer at all;
 * - `busy`, `limited`: not now;
 * - `final`: asking again would change nothing.
 */
export type BreakKind = "cut" | keyof typeof WAITS | "final";

/** @param answered whether the request that failed was answered with a body. */
export function judgeBreak(error: unknown, answered: boolean): BreakKind {
  if (!isFailure(error)) return "final";
  const { kind, upstreamStatus } = error;
  if (kind === "unreachable") {
    if (answered) return "cut";
    if (upstreamStatus === undefined) return "away";
    return upstreamStatus >= 500 || upstreamStatus === 408 ? "busy" : "cut";
  }
  if (answered) return "final";
  // Overloaded: our own limits on the upstream.
  return kind === "limited" || kind === "overloaded" ? "limited" : "final";
}

export interface Break {
  readonly error: unknown;
  readonly kind: BreakKind;
  /** Bytes of the blob that are written already. */
  readonly receivedBytes: number;
  /** Cuts since the last request that brought at least `PROGRESS_BYTES`. */
  readonly fruitless: number;
  /** Requests since then that were not answered with a body, this one not counted. */
  readonly waits: number;
  /** Since the break that came after the last progress. */
  readonly sinceMs: number;
  /** Somebody waits for the blob. */
  readonly awaited: boolean;
  /** 0 ≤ x < 1: many fills should not come back in step. */
  readonly random: number;
}

/** In how many milliseconds to ask for the rest; undefined to give up. */
export function planResumption(broken: Break): number | undefined {
  const { error, kind, receivedBytes, fruitless, waits, sinceMs, awaited, random } = broken;
  // Nothing received: whoever waits can still be told the truth, and the next request tries afresh.
  if (receivedBytes === 0 || kind === "final" || !isFailure(error)) return undefined;
  if (kind === "cut") return fruitless >= MAX_FRUITLESS ? undefined : spread(100 * 4 ** fruitless, random);
  const { firstMs, longestMs } = WAITS[kind];
  const ownMs = spread(Math.min(longestMs, firstMs * 2 ** waits), random);
  const leftMs = (awaited ? AWAITED_MS : UNAWAITED_MS) - sinceMs;
  const toldMs = askedMs(error, random);
  // A circuit in front of it may be closed before its time, by an answer to somebody else; asking it costs nothing.
  const waitMs = kind === "away" && toldMs > leftMs ? ownMs : Math.max(ownMs, toldMs);
  return waitMs <= leftMs ? waitMs : undefined;
}

/** What the upstream, or the circuit in front of it, asked for, and a little more. */
function askedMs({ retryAfterMs = 0 }: Failure, random: number): number {
  return Math.ceil(retryAfterMs * (1 + random / 10));
}

function spread(ms: number, random: number): number {
  return Math.ceil(ms * (0.5 + random / 2));
}

export interface BrokenPiece extends Break {
  /** Bytes that the request which broke has brought. */
  readonly gainedBytes: number;
  /** No other connection brings anything of the same blob just now. */
  readonly alone: boolean;
}

/**
 * After a break of one of several requests for a blob: leave the rest of the piece to the other connections, ask for it
 * again after so many milliseconds, or give up (undefined).
 */
export function planBroken(broken: BrokenPiece): "leave" | number | undefined {
  const { error, kind, receivedBytes, gainedBytes, alone, fruitless } = broken;
  const refused = kind !== "final" || (isFailure(error) && error.upstreamStatus === 416);
  const others = refused && !alone && gainedBytes === 0 && receivedBytes > 0 && fruitless <= MAX_FRUITLESS;
  return others ? "leave" : planResumption(broken);
}
