/**
 * What a fill does when things change around it. Pure.
 */
const MIB = 1024 * 1024;

/** Nobody waits for this fill any more: finish it, or stop it after a grace period? */
export function planAbandoned(receivedBytes: number, sizeBytes: number | undefined): "finish" | "stop" {
  if (sizeBytes === undefined) return receivedBytes > 0 ? "finish" : "stop";
  const missing = sizeBytes - receivedBytes;
  return missing <= 64 * MIB || receivedBytes * 4 >= sizeBytes ? "finish" : "stop";
}

/** Less is not worth being kept when a fill ends early. */
export const KEPT_FROM_BYTES = MIB;
/** How long it is kept for somebody to ask for the rest. */
export const KEPT_MS = 24 * 60 * 60_000;

/** How much may be kept of what nobody fetches: a part of the store that whole blobs can do without. */
export function keptLimit(maxBytes: number | undefined): number {
  return maxBytes === undefined ? Number.POSITIVE_INFINITY : maxBytes / 4;
}

/** A fill of which something is kept, after a start: fetch the rest by itself, or wait until it is asked for? */
export function planKept(keptBytes: number, sizeBytes: number): "resume" | "wait" {
  return planAbandoned(keptBytes, sizeBytes) === "finish" ? "resume" : "wait";
}

/** Blobs below this are not worth more than one request. */
export const SEGMENTED_FROM_BYTES = 64 * MIB;
/** The first piece: small, for it may show that one connection is fast enough for all the rest. */
export const FIRST_PIECE_BYTES = 16 * MIB;
const MIN_PIECE_BYTES = 8 * MIB;
const MAX_PIECE_BYTES = 32 * MIB;
/** How far ahead of the first missing byte pieces may begin: they are read back from the page cache to be hashed. */
const LOOK_AHEAD_BYTES = 256 * MIB;
/** Where one connection brings this much, it is not the connection that limits. */
const FAST_BYTES_PER_SECOND = 100_000_000;
/** By how much more connections must be faster, to be kept; and to try still more. */
const WORTH_KEEPING = 1.1;
const WORTH_MORE = 1.3;

/** What is known of how the speed of a fill answers to the number of its connections. */
export interface Course {
  /** How many there should be now. */
  readonly connections: number;
  readonly limit: number;
  /** The number before, and how fast it was. */
  readonly before: { readonly connections: number; readonly bytesPerSecond: number } | undefined;
  /** Nothing more will be tried. */
  readonly settled: boolean;
}

export function beginCourse(limit: number): Course {
  return { connections: 1, limit, before: undefined, settled: limit <= 1 };
}

/** The next number of connections, from what the present number brings all together. */
export function planCourse(course: Course, bytesPerSecond: number): Course {
  const { connections, limit, before, settled } = course;
  if (settled) return course;
  const gain = before === undefined ? Number.POSITIVE_INFINITY : bytesPerSecond / before.bytesPerSecond;
  if (before !== undefined && gain < WORTH_KEEPING) {
    return { ...course, connections: before.connections, settled: true };
  }
  if (gain < WORTH_MORE || connections >= limit || bytesPerSecond >= FAST_BYTES_PER_SECOND * connections) {
    return { ...course, settled: true };
  }
  return { ...course, connections: Math.min(limit, connections * 2), before: { connections, bytesPerSecond } };
}

/** The upstream refused one of `running` connections: no more than the others. */
export function planRefused(course: Course, running: number): Course {
  const connections = Math.max(1, Math.min(course.connections, running - 1));
  return { ...course, connections, settled: true };
}

export interface PieceSituation {
  readonly course: Course;
  /** The first byte that nobody was asked for. */
  readonly nextByte: number;
  readonly sizeBytes: number;
  /** The first byte that has not come. */
  readonly missingByte: number;
}

/** Where the piece that begins at `nextByte` ends, not inclusive; undefined where it has to wait, or there is none. */
export function planPiece({ course, nextByte, sizeBytes, missingByte }: PieceSituation): number | undefined {
  const left = sizeBytes - nextByte;
  if (left <= 0) return undefined;
  // One connection needs no more than one request.
  if (course.settled && course.connections === 1) return sizeBytes;
  if (nextByte - missingByte >= LOOK_AHEAD_BYTES) return undefined;
  // Towards the end they grow smaller, so that all connections end at about the same time.
  const share = Math.ceil(left / (2 * course.connections));
  const length = Math.min(MAX_PIECE_BYTES, Math.max(MIN_PIECE_BYTES, share));
  return left - length < MIN_PIECE_BYTES ? sizeBytes : nextByte + length;
}

export interface RangeSituation {
  /** First byte the client wants. */
  readonly startByte: number;
  readonly visibleBytes: number;
  readonly bytesPerSecond: number;
}

const NEAR_BYTES = 16 * MIB;
const PATIENCE_SECONDS = 2;

/** A client wants bytes that the running fill has not reached: wait for it, or ask the upstream for that range? */
export function planRange(situation: RangeSituation): "follow" | "pass" {
  const ahead = situation.startByte - situation.visibleBytes;
  if (ahead <= NEAR_BYTES) return "follow";
  return ahead <= situation.bytesPerSecond * PATIENCE_SECONDS ? "follow" : "pass";
}
