/**
 * Content codings: registries are asked for none, and some send one all the same.
 */
import type { Transform } from "node:stream";
import { promisify } from "node:util";
import * as zlib from "node:zlib";
import { errnoOf, Failure } from "../../base/failure.ts";

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

/** @throws Failure `unreachable` for an unknown one. */
export function decoderOf(coding: string) {
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
