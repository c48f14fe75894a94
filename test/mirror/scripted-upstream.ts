/**
 * An upstream of one blob whose bodies bring just what the test lets go, on a clock of the test's.
 */
import { Readable } from "node:stream";
import { Failure } from "../../src/base/failure.ts";
import { flowOf } from "../../src/base/flow.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Absence, BlobBody, Upstream } from "../../src/upstream/upstream.ts";
import type { Urgency } from "../../src/upstream/urgency.ts";
import type { ManualClock } from "../kit/clock.ts";
import type { Content } from "../kit/content.ts";

const MIB = 1024 * 1024;
/** How far away it is. */
const ANSWERS_AFTER_MS = 40;

export class ScriptedRequest {
  readonly start: number;
  /** Not inclusive. */
  readonly end: number;
  /** As it was asked for: first and last byte; undefined where no range was. */
  readonly range: { readonly start: number; readonly end?: number } | undefined;
  readonly #content: Content;
  readonly #body = new Readable({ highWaterMark: 64 * MIB, read() {} });
  sentBytes = 0;
  over = false;

  constructor(content: Content, range: { start: number; end?: number } | undefined, ignoreRange: boolean) {
    this.#content = content;
    this.range = range;
    this.start = ignoreRange ? 0 : (range?.start ?? 0);
    this.end = ignoreRange ? content.sizeBytes : Math.min(content.sizeBytes, (range?.end ?? Infinity) + 1);
    this.#body.on("error", () => {});
    this.#body.once("close", () => {
      this.over = true;
    });
  }

  /** Lets go of so many bytes more; the end with the last of them, unless it is kept back. */
  send(bytes = Number.POSITIVE_INFINITY, ends = true): void {
    const at = this.start + this.sentBytes;
    const until = Math.min(this.end, at + bytes);
    for (const chunk of this.#content.read(at, until)) this.#body.push(chunk);
    this.sentBytes += until - at;
    if (until === this.end && ends) this.#body.push(null);
  }

  break(error: Error = new Failure("unreachable", "cut")): void {
    this.#body.destroy(error);
  }

  answer(signal: AbortSignal, sizeBytes: number | undefined = this.#content.sizeBytes): BlobBody {
    signal.addEventListener("abort", () => this.#body.destroy(signal.reason), { once: true });
    return { startByte: this.start, bodyBytes: this.end - this.start, sizeBytes, body: flowOf(this.#body) };
  }
}

export type Answering = (request: ScriptedRequest, number: number) => "ignore the range" | Absence | Error | undefined;

export class ScriptedUpstream implements Upstream {
  readonly name = "docker.io";
  readonly requests: ScriptedRequest[] = [];
  /** How urgent each of them was. */
  readonly urgencies: (Urgency | undefined)[] = [];
  heads = 0;
  /** HEADs are not answered. */
  silent = false;
  readonly #content: Content;
  readonly #clock: ManualClock;
  /** How a request is answered; undefined as it should be. Throws what it returns as an error. */
  answering: Answering = () => undefined;
  /** What `Content-Range` says of the whole. */
  saysSize: (number: number) => number | undefined = () => this.#content.sizeBytes;

  constructor(content: Content, clock: ManualClock) {
    this.#content = content;
    this.#clock = clock;
  }

  /** Those that are answered and have not come to their end. */
  get running(): ScriptedRequest[] {
    return this.requests.filter((request) => !request.over && request.sentBytes < request.end - request.start);
  }

  async openBlob(
    _repository: string,
    _digest: Digest,
    range: { start: number; end?: number } | undefined,
    signal: AbortSignal,
    urgency?: Urgency,
  ): Promise<BlobBody | Absence> {
    signal.throwIfAborted();
    this.urgencies.push(urgency);
    const number = this.requests.length + 1;
    let request = new ScriptedRequest(this.#content, range, false);
    const answer = this.answering(request, number);
    if (answer === "ignore the range") request = new ScriptedRequest(this.#content, range, true);
    this.requests.push(request);
    if (typeof answer === "object") {
      request.over = true;
      if (answer instanceof Error) throw answer;
      return answer;
    }
    return request.answer(signal, this.saysSize(number));
  }

  async headBlob(_repository: string, _digest: Digest, signal: AbortSignal) {
    this.heads += 1;
    if (this.silent) await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    this.#clock.jump(ANSWERS_AFTER_MS);
    return { sizeBytes: this.#content.sizeBytes };
  }

  headManifest = unasked;
  getManifest = unasked;
  listTags = unasked;
  listReferrers = unasked;
  budget(): undefined {
    return undefined;
  }

  async close(): Promise<void> {}
}

function unasked(): never {
  throw new Error("nobody asks for this");
}
