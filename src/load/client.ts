/**
 * One client that pulls as dockerd, containerd or podman do, over connections of its own, and verifies what it gets.
 *
 * Every request that goes wrong is counted where it happens; what is thrown from here only says that a pull is over.
 */
import { createHash } from "node:crypto";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf, finishDigest, isDigest } from "../oci/digest.ts";
import { findMediaType } from "../oci/mediatypes.ts";
import type { Reference } from "../oci/reference.ts";
import { type Chunk, OrderedHash, planChunks, rangeHeader } from "./chunks.ts";
import { type ImagePlan, readManifest } from "./image.ts";
import type { Life } from "./life.ts";
import { type Ask, Line } from "./line.ts";
import { Login } from "./login.ts";
import { Mishap, retryAfterOf } from "./mishap.ts";
import { CHUNKS_AT_ONCE, type LoadOptions } from "./options.ts";
import { blobUrl, manifestUrl, type Place, pingUrl } from "./place.ts";
import { eachOf } from "./pool.ts";
import {
  type PlannedRequest,
  pingsFirst,
  planBlob,
  planBlobs,
  planManifest,
  planManifestByTag,
  planResolution,
} from "./profile.ts";
import type { Answer } from "./receipt.ts";
import type { Tally } from "./tally.ts";

const MAX_MANIFEST_BYTES = 8 * 1024 * 1024;
/** An index in an index in an index is nobody's image. */
const MAX_DEPTH = 4;

/** Takes the bytes of a slow reader; the next come when it resolves. */
export type Pace = (bytes: number) => Promise<void>;

export class Client {
  readonly #options: LoadOptions;
  readonly #tally: Tally;
  readonly #line: Line;
  readonly #login: Login;
  readonly #seen: Map<string, ImagePlan>;

  /** @param seen gets what each reference turned out to be */
  constructor(options: LoadOptions, life: Life, tally: Tally, seen: Map<string, ImagePlan>) {
    this.#seen = seen;
    this.#options = options;
    this.#tally = tally;
    this.#line = new Line(options, life, tally);
    this.#login = new Login(options, this.#line);
  }

  close(): void {
    this.#line.close();
  }

  /** A whole pull. @throws Mishap (counted already), Stopped */
  async pull(place: Place): Promise<void> {
    const startedAt = performance.now();
    const image = await this.resolve(place);
    for (const lanes of planBlobs(this.#options.as, image, this.#options.concurrency)) {
      await eachOf(lanes, lanes.length, ({ blobs, atOnce }) =>
        eachOf(blobs, atOnce, (blob) => this.#blob(place, blob)),
      );
    }
    this.#tally.pulled(performance.now() - startedAt);
  }

  /** As a pull begins: down to the manifest of the platform's image. @throws Mishap (counted already), Stopped */
  async resolve(place: Place): Promise<ImagePlan> {
    const { as, platform } = this.#options;
    if (pingsFirst(as)) await this.#counted(`GET ${pingUrl(place).pathname}`, () => this.#ping(place));
    let reference: Reference | Digest = place.reference;
    let mediaType: string | undefined;
    const resolution = planResolution(as, place.reference);
    if (resolution !== undefined) {
      const { headers } = await this.#manifest(place, place.reference, resolution);
      const digest = headers["docker-content-digest"];
      // Where the answer does not say, clients get the manifest by its tag and hash it.
      if (typeof digest === "string" && isDigest(digest)) {
        reference = digest;
        mediaType = findMediaType(headers["content-type"]);
      }
    }
    for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
      const answer = await this.#manifest(place, reference, planManifest(as, mediaType));
      const what = `${place.written} ${textOf(reference)}`;
      const reading = await this.#counted(what, async () => {
        const digest = digestOf(answer.body);
        return readManifest(answer.body, findMediaType(answer.headers["content-type"]), { digest, platform });
      });
      if (reading.type === "image") {
        this.#seen.set(place.written, reading.image);
        return reading.image;
      }
      reference = reading.child.digest;
      mediaType = reading.child.mediaType === "" ? undefined : reading.child.mediaType;
    }
    const tooDeep = new Mishap("bad answer", `more than ${MAX_DEPTH} indexes in one another`);
    this.#tally.failed(tooDeep, place.written);
    throw tooDeep;
  }

  /** One request for the manifest by its tag. @throws Mishap (counted already), Stopped */
  async askManifest(place: Place, method: "GET" | "HEAD"): Promise<void> {
    await this.#manifest(place, place.reference, planManifestByTag(this.#options.as, method));
  }

  /** Is it there at all? Not counted. @throws Mishap, Stopped */
  async probe(place: Place): Promise<Answer> {
    const answer = await this.#ask(place, { url: manifestUrl(place), ...planManifestByTag(this.#options.as, "HEAD") });
    if (answer.status !== 405) return answer;
    const plan = planManifestByTag(this.#options.as, "GET");
    return this.#ask(place, { url: manifestUrl(place), keepBytes: MAX_MANIFEST_BYTES, ...plan });
  }

  /** A layer by range requests that run beside each other. @throws Mishap (counted already), Stopped */
  async fetchRanges(place: Place, blob: Descriptor): Promise<void> {
    const { as, chunkBytes, concurrency, verify } = this.#options;
    const startedAt = performance.now();
    const hash = new OrderedHash(blob.digest);
    const atOnce = concurrency ?? CHUNKS_AT_ONCE;
    await eachOf(planChunks(blob.sizeBytes, chunkBytes), atOnce, (chunk) =>
      this.#counted(`GET ${blob.digest} ${rangeHeader(chunk, as === "containerd")}`, () =>
        this.#chunk(place, blob, chunk, verify ? hash : undefined),
      ),
    );
    await this.#counted(`${place.repository} ${blob.digest}`, async () => {
      if (verify && !hash.matches()) throw new Mishap("wrong digest", "the pieces together are other bytes");
    });
    this.#finished(performance.now() - startedAt);
  }

  /** A blob, as slowly as `pace` has it; only its first byte is timed. @throws Mishap (counted already), Stopped */
  async readSlowly(place: Place, blob: Descriptor, pace: Pace): Promise<void> {
    const url = blobUrl(place, blob.digest);
    const hash = createHash(algorithmOf(blob.digest));
    const startedAt = performance.now();
    let reading = false;
    const sink = (bytes: Buffer) => {
      if (!reading) {
        reading = true;
        this.#tally.reading(1);
        this.#tally.time("blobFirstByte", performance.now() - startedAt);
      }
      hash.update(bytes);
      return pace(bytes.length);
    };
    try {
      await this.#counted(`GET ${url.pathname}${url.search}`, async () => {
        const answer = await this.#ask(place, { url, sink, ...planBlob(this.#options.as, blob) });
        if (answer.status !== 200) throw refusal(answer);
        if (finishDigest(algorithmOf(blob.digest), hash) !== blob.digest) {
          throw new Mishap("wrong digest", `${answer.bytes} bytes that are not ${blob.digest}`);
        }
        this.#tally.successes += 1;
      });
    } finally {
      if (reading) this.#tally.reading(-1);
    }
  }

  async #ping(place: Place): Promise<void> {
    const ask: Ask = { method: "GET", url: pingUrl(place), headers: {} };
    const answer = await this.#line.send({ ...ask, authorization: this.#login.headerFor(place) });
    // The challenge is answered for the repository that is about to be pulled, and the ping is not repeated.
    if (answer.status === 401 && (await this.#login.answer(answer, place))) return;
    if (answer.status !== 200) throw refusal(answer);
    this.#tally.successes += 1;
  }

  async #manifest(place: Place, reference: Reference | Digest, plan: PlannedRequest): Promise<Answer> {
    const url = manifestUrl(place, reference);
    return this.#counted(`${plan.method} ${url.pathname}${url.search}`, async () => {
      const answer = await this.#ask(place, { url, keepBytes: MAX_MANIFEST_BYTES, ...plan });
      if (answer.status !== 200) throw refusal(answer);
      if (plan.method === "GET") checkManifest(answer, reference);
      this.#tally.time("manifest", answer.totalMs);
      this.#tally.successes += 1;
      return answer;
    });
  }

  #blob(place: Place, blob: Descriptor): Promise<void> {
    const url = blobUrl(place, blob.digest);
    return this.#counted(`GET ${url.pathname}${url.search}`, async () => {
      const hash = this.#options.verify ? createHash(algorithmOf(blob.digest)) : undefined;
      const sink = (bytes: Buffer) => {
        hash?.update(bytes);
        return undefined;
      };
      const answer = await this.#ask(place, { url, sink, ...planBlob(this.#options.as, blob) });
      if (answer.status !== 200) throw refusal(answer);
      this.#tally.time("blobFirstByte", answer.firstByteMs);
      if (hash !== undefined && finishDigest(algorithmOf(blob.digest), hash) !== blob.digest) {
        throw new Mishap("wrong digest", `${answer.bytes} bytes that are not ${blob.digest}`);
      }
      checkLength(answer, blob.sizeBytes);
      this.#finished(answer.totalMs);
    });
  }

  async #chunk(place: Place, blob: Descriptor, chunk: Chunk, hash: OrderedHash | undefined): Promise<void> {
    const openEnded = this.#options.as === "containerd";
    const last = chunk.end === blob.sizeBytes;
    const plan = planBlob(this.#options.as, blob);
    try {
      const answer = await this.#ask(place, {
        url: blobUrl(place, blob.digest),
        method: "GET",
        // A range is of the identity form: an encoded one could not be put together.
        headers: { ...plan.headers, "accept-encoding": "identity", range: rangeHeader(chunk, openEnded) },
        sink: (bytes) => hash?.write(chunk.index, bytes),
        enoughBytes: openEnded && !last ? chunk.end - chunk.start : undefined,
      });
      if (answer.status !== 206) {
        if (answer.status !== 200) throw refusal(answer);
        if (chunk.start > 0 || !last) throw new Mishap("bad answer", "200 with the whole blob instead of a range");
      }
      checkLength(answer, chunk.end - chunk.start);
      this.#tally.time("blobFirstByte", answer.firstByteMs);
      this.#tally.successes += 1;
    } finally {
      hash?.finish(chunk.index);
    }
  }

  #finished(ms: number): void {
    this.#tally.time("blobTotal", ms);
    this.#tally.blobs += 1;
    this.#tally.successes += 1;
    if (this.#options.verify) this.#tally.verifiedBlobs += 1;
  }

  /** With a token where one is wanted: a 401 is answered once. */
  async #ask(place: Place, ask: Ask): Promise<Answer> {
    const answer = await this.#line.send({ ...ask, authorization: this.#login.headerFor(place) });
    if (answer.status !== 401 || !(await this.#login.answer(answer, place))) return answer;
    return this.#line.send({ ...ask, authorization: this.#login.headerFor(place) });
  }

  async #counted<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof Mishap) this.#tally.failed(error, what);
      throw error;
    }
  }
}

function refusal(answer: Answer): Mishap {
  const text = answer.body.toString("utf8", 0, 200).replace(/[^\x20-\x7e]+/g, " ");
  const retryAfterMs = retryAfterOf(answer.headers["retry-after"], Date.now());
  return new Mishap(`status ${answer.status}`, text.trim() === "" ? "no further word" : text.trim(), retryAfterMs);
}

function checkManifest(answer: Answer, reference: Reference | Digest): void {
  const wanted = typeof reference === "string" ? reference : reference.type === "digest" ? reference.digest : undefined;
  const said = answer.headers["docker-content-digest"];
  for (const digest of [wanted, said]) {
    if (typeof digest !== "string" || !isDigest(digest)) continue;
    const actual = digestOf(answer.body, algorithmOf(digest));
    if (actual !== digest) throw new Mishap("wrong digest", `the bytes are ${actual}, expected ${digest}`);
  }
}

function checkLength(answer: Answer, sizeBytes: number): void {
  if (sizeBytes < 0 || answer.bytes === sizeBytes) return;
  throw new Mishap("short body", `${answer.bytes} bytes where ${sizeBytes} were expected`);
}

function textOf(reference: Reference | Digest): string {
  if (typeof reference === "string") return reference;
  return reference.type === "tag" ? reference.tag : reference.digest;
}
