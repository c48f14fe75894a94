/**
 * A bundle's stream on its way to whoever asked for it: its contents are read as they pass, and signed where there is a
 * key, which so never leaves its owner's process.
 */
import type { KeyObject } from "node:crypto";
import { Readable } from "node:stream";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import { type Contents, parseContents } from "./contents.ts";
import { SIGNATURE_FILE, signContents } from "./signature.ts";
import { headerOf, paddingOf } from "./tarball.ts";

export interface PassedBundle {
  readonly contents: Contents;
  readonly contentsBytes: Buffer;
  /** The whole bundle, contents and signature included. */
  readonly body: Readable;
  readonly lengthBytes: number | undefined;
}

const BLOCK = 512;
const MAX_CONTENTS = 64 * 1024 * 1024;

/**
 * @param source as `streamBundle` writes it.
 * @throws Failure `corrupt` where it ends too soon.
 */
export async function passBundle(
  source: { readonly body: Readable; readonly lengthBytes: number | undefined },
  key: KeyObject | undefined,
): Promise<PassedBundle> {
  const chunks: AsyncIterator<Buffer> = source.body[Symbol.asyncIterator]();
  let held = Buffer.alloc(0);
  const pieces: Buffer[] = [];
  const upTo = async (length: number): Promise<Buffer> => {
    let bytes = held.length;
    pieces.push(held);
    while (bytes < length) {
      const { done, value } = await chunks.next();
      if (done === true) throw new Failure("corrupt", "the bundle breaks off");
      pieces.push(value);
      bytes += value.length;
    }
    held = Buffer.concat(pieces.splice(0));
    return held;
  };
  try {
    const header = (await upTo(BLOCK)).subarray(0, BLOCK);
    const size = Number.parseInt(header.toString("latin1", 124, 135), 8);
    if (!(size <= MAX_CONTENTS)) throw new Failure("corrupt", "the bundle does not begin with its contents");
    const end = BLOCK + size + paddingOf(size).length;
    const first = (await upTo(end)).subarray(0, end);
    const contentsBytes = first.subarray(BLOCK, BLOCK + size);
    const contents = await parseContents(contentsBytes);
    const signature = key === undefined ? undefined : await signContents(contentsBytes, key);
    const added =
      signature === undefined
        ? Buffer.alloc(0)
        : Buffer.concat([headerOf(SIGNATURE_FILE, signature.length), signature, paddingOf(signature.length)]);
    async function* all(): AsyncGenerator<Buffer> {
      yield first;
      if (added.length > 0) yield added;
      if (held.length > end) yield held.subarray(end);
      for await (const chunk of { [Symbol.asyncIterator]: () => chunks }) yield chunk;
    }
    return {
      contents,
      contentsBytes,
      body: Readable.from(counted(all(), source.lengthBytes, added.length), { objectMode: false }),
      lengthBytes: source.lengthBytes === undefined ? undefined : source.lengthBytes + added.length,
    };
  } catch (error) {
    source.body.destroy();
    throw error;
  }
}

/** What ends too soon is no bundle, however it ended. */
async function* counted(
  chunks: AsyncIterable<Buffer>,
  lengthBytes: number | undefined,
  addedBytes: number,
): AsyncGenerator<Buffer> {
  let bytes = 0;
  try {
    for await (const chunk of chunks) {
      bytes += chunk.length;
      yield chunk;
    }
  } catch (error) {
    if (isFailure(error)) throw error;
    throw new Failure("corrupt", `the bundle breaks off: ${messageOf(error)}; the mirror's log says why`, {
      cause: error,
    });
  }
  if (lengthBytes === undefined || bytes === lengthBytes + addedBytes) return;
  throw new Failure("corrupt", "the bundle breaks off: the mirror found something wrong, and its log says what");
}
