/**
 * Brings one blob's bytes from the upstream into an ingest: by one request, or, where one connection is what limits a
 * large blob, by several, each for a piece.
 *
 * No byte is asked for twice: pieces are given out once, and one that breaks is taken up at the byte it reached, by its
 * own connection or another. How many connections there are is policy (`planCourse`). When `run` settles, none is left.
 */
import { type Clock, pause } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import type { Digest } from "../oci/digest.ts";
import type { Ingest, Lane } from "../store/blobstore.ts";
import { Deadline } from "../upstream/exchange/deadline.ts";
import { type Absence, type BlobBody, isAbsence } from "../upstream/upstream.ts";
import {
  beginCourse,
  type Course,
  FIRST_PIECE_BYTES,
  planCourse,
  planPiece,
  planRefused,
  SEGMENTED_FROM_BYTES,
} from "./fillpolicy.ts";
import type { Pace } from "./pace.ts";
import { pump } from "./pump.ts";
import { type Break, judgeBreak, PROGRESS_BYTES, planBroken, planResumption } from "./resumption.ts";
import type { Route } from "./route.ts";

export interface Begun {
  readonly ingest: Ingest;
  /** How large the blob may become, where nobody says how large it is. */
  readonly limitBytes: number;
}

export interface DownloadOptions {
  readonly route: Route;
  readonly digest: Digest;
  readonly sizeHint: number | undefined;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly pace: Pace;
  readonly random?: (() => number) | undefined;
  /** Where to begin; all before is there. Default 0. */
  readonly fromByte?: number;
  /** Called once, when the upstream begins to send it: from that byte, or the first. */
  begin(sizeBytes: number | undefined, fromByte: number): Promise<Begun>;
  /** Somebody waits for it. Where nobody does, it yields to others, and holds on less long. */
  awaited(): boolean;
  /** The upstream broke off, and is asked again from a byte that was reached: once for each break. */
  resumed(atByte: number, reason: string): void;
}

/** What one connection is to bring. */
interface Piece {
  /** The byte that the next request begins with. */
  at: number;
  /** Where its bytes arrive while a request runs. */
  lane: Lane | undefined;
  /** Not inclusive; undefined where the size is not known. */
  end: number | undefined;
  /** False where all from `at` on is asked for. */
  isPart: boolean;
  /** The last request was answered, by a yes or a no. */
  answered: boolean;
  /** What has come of it since the last request that brought something. */
  trouble: { readonly since: number; readonly fruitless: number; readonly waits: number } | undefined;
}

const UNTROUBLED = { lane: undefined, answered: false, trouble: undefined };

/** Whoever has not answered by then is far. */
const LOOK_MS = 2000;
const TICK_MS = 250;
/** New connections first have to gain speed. */
const SETTLING_TICKS = 1;
const MEASURED_TICKS = 2;

export class Download {
  readonly #options: DownloadOptions;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  readonly #over = Promise.withResolvers<void>();
  readonly #running = new Set<Piece>();
  /** Pieces that a connection has left to others. */
  readonly #left: Piece[] = [];
  #course: Course;
  #begun: Begun | undefined;
  readonly #fromByte: number;
  /** Where the first piece ends. */
  readonly #firstEnd: number;
  /** The first byte that is in no piece. */
  #nextByte = 0;
  #absence: Absence | undefined;
  #failure: unknown;
  #startedAt = 0;
  #cancelTick: (() => void) | undefined;

  constructor(options: DownloadOptions) {
    this.#options = options;
    this.#fromByte = options.fromByte ?? 0;
    this.#firstEnd = this.#fromByte + FIRST_PIECE_BYTES;
    this.#signal = AbortSignal.any([options.signal, this.#abort.signal]);
    this.#course = beginCourse(1);
  }

  /** Resolves when every byte was taken over, or with the upstream's no. */
  async run(): Promise<Absence | undefined> {
    this.#course = await this.#judgeUpstream();
    const isPart = !this.#course.settled;
    const end = isPart ? this.#firstEnd : undefined;
    this.#nextByte = end ?? Number.POSITIVE_INFINITY;
    this.#connect({ ...UNTROUBLED, at: this.#fromByte, end, isPart });
    await this.#over.promise;
    this.#cancelTick?.();
    if (this.#failure !== undefined) throw this.#failure;
    if (!isPart && this.#begun !== undefined) {
      const bytes = this.#begun.ingest.receivedBytes - this.#fromByte;
      this.#options.pace.brought(bytes, this.#options.clock.now() - this.#startedAt);
    }
    return this.#absence;
  }

  /** Whether pieces may be worth it. An upstream that nothing is known of is asked for the size: that shows how far it is. */
  async #judgeUpstream(): Promise<Course> {
    const { route, digest, sizeHint = 0, pace } = this.#options;
    const { segments, upstream } = route.source;
    if (segments === 1 || sizeHint - this.#fromByte < SEGMENTED_FROM_BYTES) return beginCourse(1);
    if (!pace.isKnown) {
      // What it says of the blob itself, the request for it will say again; and silence must not be waited for twice.
      const time = new Deadline(this.#options.clock, this.#signal);
      time.set(LOOK_MS, `${upstream.name} did not answer in time`);
      await this.#timed(() => upstream.headBlob(route.repository, digest, time.signal)).catch(() => {});
      time.lift();
      this.#signal.throwIfAborted();
    }
    return beginCourse(pace.mayBeSlow ? segments : 1);
  }

  async #timed<T>(ask: () => Promise<T>): Promise<T> {
    const { clock, pace } = this.#options;
    const sentAt = clock.now();
    const answered = await ask();
    pace.answered(clock.now() - sentAt);
    return answered;
  }

  #connect(first: Piece): void {
    this.#running.add(first);
    this.#carry(first)
      .catch((error: unknown) => {
        this.#failure ??= error;
        this.#abort.abort(error);
      })
      .finally(() => {
        this.#spread();
        if (this.#running.size === 0) this.#over.resolve();
      });
  }

  /** As many connections as there should be, if there is something for them to bring. */
  #spread(): void {
    while (this.#failure === undefined && this.#running.size < this.#course.connections) {
      const piece = this.#take();
      if (piece === undefined) return;
      this.#connect(piece);
    }
  }

  /** One connection's work: piece after piece, while there are no more connections than there should be. */
  async #carry(first: Piece): Promise<void> {
    for (let piece: Piece | undefined = first; piece !== undefined; ) {
      try {
        await this.#bring(piece);
      } finally {
        this.#running.delete(piece);
      }
      if (this.#absence !== undefined) return;
      this.#judgeFirst(piece);
      piece = this.#running.size < this.#course.connections ? this.#take() : undefined;
      if (piece !== undefined) this.#running.add(piece);
      // Others may have waited for this one, having come too far ahead.
      this.#spread();
    }
  }

  #take(): Piece | undefined {
    const sizeBytes = this.#begun?.ingest.sizeBytes;
    const left = this.#left.shift();
    // Whoever takes it up begins anew.
    if (left !== undefined) left.trouble = undefined;
    if (left !== undefined || sizeBytes === undefined) return left;
    const at = this.#nextByte;
    const missingByte = Math.min(at, ...[...this.#running].map((piece) => piece.lane?.position ?? piece.at));
    const end = planPiece({ course: this.#course, nextByte: at, sizeBytes, missingByte });
    if (end === undefined) return undefined;
    this.#nextByte = end;
    return { ...UNTROUBLED, at, end, isPart: true };
  }

  /** Brings all of a piece, or leaves the rest of it to others. */
  async #bring(piece: Piece): Promise<void> {
    for (;;) {
      const from = piece.at;
      try {
        await this.#request(piece);
        if (this.#absence !== undefined || piece.end === undefined || piece.at >= piece.end) return;
        const { ingest } = this.#begun ?? { ingest: undefined };
        const bytes = ingest?.receivedBytes ?? 0;
        throw new Failure("unreachable", `the upstream ended after ${bytes} of ${ingest?.sizeBytes} bytes`);
      } catch (error) {
        this.#signal.throwIfAborted();
        // What came after the last byte is not worth another request: the digest decides.
        if (piece.end !== undefined && piece.at >= piece.end && isFailure(error, "unreachable")) return;
        const gainedBytes = piece.at - from;
        const broken = this.#broken(piece, error, gainedBytes);
        const alone = this.#receiving === 0;
        const plan = piece.isPart ? planBroken({ ...broken, gainedBytes, alone }) : planResumption(broken);
        if (plan === undefined) throw error;
        if (plan === "leave") {
          this.#course = planRefused(this.#course, this.#running.size);
          this.#left.push(piece);
          return;
        }
        if (broken.sinceMs === 0) this.#options.resumed(piece.at, messageOf(error));
        await pause(this.#options.clock, plan, this.#signal);
      }
    }
  }

  /** Takes a break down. */
  #broken(piece: Piece, error: unknown, gainedBytes: number): Break {
    const { clock, awaited, random = Math.random } = this.#options;
    const now = clock.now();
    const kind = judgeBreak(error, piece.answered);
    const before = gainedBytes >= PROGRESS_BYTES ? undefined : piece.trouble;
    const { since, fruitless, waits } = before ?? { since: now, fruitless: 0, waits: 0 };
    const isFruitless = kind === "cut" && gainedBytes < PROGRESS_BYTES;
    piece.trouble = {
      since,
      fruitless: fruitless + (isFruitless ? 1 : 0),
      waits: kind === "cut" ? 0 : waits + 1,
    };
    const receivedBytes = this.#begun?.ingest.receivedBytes ?? 0;
    const sinceMs = Math.max(0, now - since);
    const situation = { receivedBytes, sinceMs, awaited: awaited(), random: random() };
    return { error, kind, fruitless: piece.trouble.fruitless, waits, ...situation };
  }

  /** How many connections bring something now. */
  get #receiving(): number {
    return [...this.#running].filter(({ lane }) => lane !== undefined).length;
  }

  /** One request, read to its end. */
  async #request(piece: Piece): Promise<void> {
    const { route, digest } = this.#options;
    const range =
      piece.isPart && piece.end !== undefined ? { start: piece.at, end: piece.end - 1 } : rangeFrom(piece.at);
    const urgency = this.#options.awaited() ? "miss" : "refresh";
    piece.answered = false;
    const arrival = await this.#timed(() =>
      route.source.upstream.openBlob(route.repository, digest, range, this.#signal, urgency),
    );
    piece.answered = true;
    if (isAbsence(arrival)) {
      if (this.#begun === undefined) this.#absence = arrival;
      else throw new Failure("unreachable", "the upstream no longer has the blob that it was sending");
      return;
    }
    try {
      const { ingest, limitBytes } = this.#begun ?? (await this.#begin(piece, arrival));
      if (arrival.sizeBytes !== undefined) ingest.declareSize(arrival.sizeBytes);
      const skipBytes = piece.at - arrival.startByte;
      if (skipBytes > 0 && piece.isPart) this.#ignored(piece, ingest);
      const lane = ingest.lane(piece.at, piece.end);
      piece.lane = lane;
      const options = {
        skipBytes,
        limitBytes: ingest.sizeBytes === undefined ? limitBytes : Number.POSITIVE_INFINITY,
        goesOn: skipBytes > 0 && piece.end !== ingest.sizeBytes,
        clock: this.#options.clock,
      };
      try {
        await pump(arrival.body, lane, options);
      } finally {
        arrival.body.destroy();
        piece.at = lane.position;
        piece.lane = undefined;
        lane.close();
      }
    } finally {
      arrival.body.destroy();
    }
  }

  async #begin(piece: Piece, arrival: BlobBody): Promise<Begun> {
    const sizeBytes = arrival.sizeBytes ?? this.#options.sizeHint;
    this.#startedAt = this.#options.clock.now();
    this.#begun = await this.#options.begin(sizeBytes, arrival.startByte);
    // Where all is sent anew, what was there was given up.
    piece.at = Math.min(piece.at, this.#begun.ingest.receivedBytes);
    const { bodyBytes } = arrival;
    const askedBytes = piece.end === undefined ? 0 : piece.end - piece.at;
    if (!piece.isPart || bodyBytes === undefined || piece.end === undefined || bodyBytes > askedBytes) {
      // One body brings it all, whatever was asked for.
      this.#course = beginCourse(1);
      piece.isPart = false;
      piece.end = sizeBytes;
      this.#nextByte = Number.POSITIVE_INFINITY;
    } else {
      if (sizeBytes !== undefined && sizeBytes < piece.end) piece.end = sizeBytes;
      this.#tick(0, 0, 0);
    }
    return this.#begun;
  }

  /** A further request for a piece is answered with the whole blob, of which all before the piece is there already. */
  #ignored(piece: Piece, ingest: Ingest): void {
    if (this.#running.size > 1) throw new Failure("unreachable", "the upstream no longer sends ranges");
    this.#course = planRefused(this.#course, 1);
    if (this.#nextByte !== piece.end || this.#left.length > 0) return;
    piece.end = ingest.sizeBytes;
    this.#nextByte = Number.POSITIVE_INFINITY;
  }

  /** The first piece may show early that one connection is enough. */
  #judgeFirst(piece: Piece): void {
    if (piece.end !== this.#firstEnd || this.#course.connections > 1) return;
    const elapsedMs = Math.max(1, this.#options.clock.now() - this.#startedAt);
    const planned = planCourse(this.#course, (FIRST_PIECE_BYTES * 1000) / elapsedMs);
    if (planned.settled) this.#course = planned;
  }

  /** Measures what the present number of connections brings, and goes on to the next. */
  #tick(count: number, sinceMs: number, sinceBytes: number): void {
    const { clock } = this.#options;
    this.#cancelTick = clock.after(TICK_MS, () => {
      const bytes = this.#begun?.ingest.receivedBytes ?? 0;
      const now = clock.now();
      if (count < SETTLING_TICKS) this.#tick(count + 1, now, bytes);
      else if (count < SETTLING_TICKS + MEASURED_TICKS - 1) this.#tick(count + 1, sinceMs, sinceBytes);
      else {
        // Less than what should run is no measure of it.
        if (this.#receiving >= this.#course.connections) {
          this.#course = planCourse(this.#course, ((bytes - sinceBytes) * 1000) / Math.max(1, now - sinceMs));
        }
        this.#spread();
        if (!this.#course.settled) this.#tick(0, 0, 0);
      }
    });
  }
}

function rangeFrom(start: number): { readonly start: number } | undefined {
  return start === 0 ? undefined : { start };
}
