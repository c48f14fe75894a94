/**
 * Bodies from upstreams: read whole within a limit, or handed on as a stream.
 *
 * The invariant: a body that ends short of what was announced is an error, never an end, and every error is a
 * `Failure`. Whatever is not read is destroyed.
 */
import { pipeline, Readable, type Transform } from "node:stream";
import { promisify } from "node:util";
import * as zlib from "node:zlib";
import { errnoOf, Failure } from "../base/failure.ts";

/** What stands for no encoding. */
export function codingOf(header: string | undefined): string {
  const coding = header?.trim().toLowerCase() ?? "";
  return coding === "" ? "identity" : coding;
}

type Decode = (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;
const decoders: Readonly<Record<string, { whole: Decode; stream: () => Transform } | undefined>> = {
  gzip: { whole: promisify(zlib.gunzip), stream: () => zlib.createGunzip() },
  "x-gzip": { whole: promisify(zlib.gunzip), stream: () => zlib.createGunzip() },
  deflate: { whole: promisify(zlib.inflate), stream: () => zlib.createInflate() },
  br: { whole: promisify(zlib.brotliDecompress), stream: () => zlib.createBrotliDecompress() },
  zstd: { whole: promisify(zlib.zstdDecompress), stream: () => zlib.createZstdDecompress() },
};

function decoderOf(coding: string) {
  const decoder = Object.hasOwn(decoders, coding) ? decoders[coding] : undefined;
  if (decoder !== undefined) return decoder;
  throw new Failure("unreachable", "the upstream sent a body in a content coding that was not asked for");
}

/** Undoes the coding of a whole body. @throws Failure `corrupt` where it is malformed or decodes to more than `maxBytes`. */
export async function decodeWhole(bytes: Buffer, coding: string, maxBytes: number): Promise<Buffer> {
  if (coding === "identity") return bytes;
  const decoder = decoderOf(coding);
  try {
    return await decoder.whole(bytes, { maxOutputLength: maxBytes });
  } catch (cause) {
    if (errnoOf(cause) === "ERR_BUFFER_TOO_LARGE") throw tooLarge(maxBytes);
    throw new Failure("corrupt", `the upstream sent malformed ${coding}`, { cause });
  }
}

export function tooLarge(maxBytes: number): Failure {
  return new Failure("corrupt", `the upstream sent more than the ${maxBytes} bytes that such a document may have`);
}

export interface Announced {
  /** Bytes that must come; undefined where the upstream did not say. */
  readonly bytes: number | undefined;
  /** Makes a `Failure` of whatever the source failed with. */
  readonly explain: (error: unknown) => Failure;
  /** Called once, when no more bytes come. */
  readonly onEnd?: (receivedBytes: number) => void;
}

/** Reads all of it, and destroys the source as soon as it has more than `maxBytes`. */
export function readWhole(source: Readable, maxBytes: number, announced: Announced): Promise<Buffer> {
  if (announced.bytes !== undefined && announced.bytes > maxBytes) {
    source.destroy();
    announced.onEnd?.(0);
    return Promise.reject(tooLarge(maxBytes));
  }
  return new Promise((resolve, reject) => {
    const body = new BodyStream(source, announced);
    const chunks: Buffer[] = [];
    let received = 0;
    body.on("data", (chunk: Buffer) => {
      received += chunk.length;
      if (received > maxBytes) body.destroy(tooLarge(maxBytes));
      else chunks.push(chunk);
    });
    body.on("end", () => resolve(Buffer.concat(chunks)));
    body.on("error", reject);
  });
}

/** Reads the beginning of an error answer, so that its connection can be used again where the body is small. */
export async function readExcerpt(source: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let received = 0;
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      received += chunk.length;
      if (received >= maxBytes) break;
    }
  } catch {
    // Half of an error's text is good enough.
  }
  return Buffer.concat(chunks).subarray(0, maxBytes);
}

/** The body for whoever stores it, decoded where the upstream encoded it. */
export function streamBody(source: Readable, coding: string, announced: Announced): Readable {
  if (coding === "identity") return new BodyStream(source, announced);
  let decoder: Transform;
  try {
    decoder = decoderOf(coding).stream();
  } catch (error) {
    source.destroy();
    announced.onEnd?.(0);
    throw error;
  }
  pipeline(new BodyStream(source, announced), decoder, () => {});
  const explain = (error: unknown) =>
    error instanceof Failure
      ? error
      : new Failure("corrupt", `the upstream sent malformed ${coding}`, { cause: error });
  return new BodyStream(decoder, { bytes: undefined, explain });
}

/** Passes a source on, counting: errors explained, shortage an error, the source destroyed with it. */
class BodyStream extends Readable {
  readonly #source: Readable;
  readonly #announced: Announced;
  #received = 0;
  #ended = false;

  constructor(source: Readable, announced: Announced) {
    super({ highWaterMark: 256 * 1024 });
    this.#source = source;
    this.#announced = announced;
    // It may fail before its receiver listens; who reads it later finds it errored.
    this.on("error", () => {});
    source.on("data", (chunk: Buffer) => {
      this.#received += chunk.length;
      if (announced.bytes !== undefined && this.#received > announced.bytes) this.destroy(this.#lengthFailure("more"));
      else if (!this.push(chunk)) source.pause();
    });
    source.on("end", () => {
      this.#ended = true;
      if (announced.bytes !== undefined && this.#received < announced.bytes) this.destroy(this.#lengthFailure("less"));
      else this.push(null);
    });
    source.on("error", (error) => this.destroy(announced.explain(error)));
    source.on("close", () => {
      if (!this.#ended && !this.destroyed) this.destroy(this.#lengthFailure("less"));
    });
    source.pause();
  }

  override _read(): void {
    this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#source.destroy();
    this.#announced.onEnd?.(this.#received);
    callback(error);
  }

  #lengthFailure(than: "more" | "less"): Failure {
    return new Failure("unreachable", `the upstream sent ${than} than it announced`, {
      detail: { announcedBytes: this.#announced.bytes, receivedBytes: this.#received },
    });
  }
}
