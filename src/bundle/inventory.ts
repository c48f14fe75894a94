/**
 * What the other side has, as files say it: a bundle (archive or directory), its contents alone, or a list of digests.
 */
import { createReadStream } from "node:fs";
import { open, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import { type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { readArchive } from "./archive.ts";
import { CONTENTS_FILE, parseContents } from "./contents.ts";

export interface Possession {
  readonly digests: readonly Digest[];
  /** Digest of the contents that say so. */
  readonly contents: Digest | undefined;
}

const MAX_BYTES = 64 * 1024 * 1024;

/** @throws Failure `invalid` where it is none of these. */
export async function readPossession(path: string): Promise<Possession> {
  try {
    const bytes = await readText(path);
    const first = bytes.toString("utf8", 0, 4096).trimStart();
    if (first.startsWith("[") || /^\{\s*"digests"/.test(first)) return listed(bytes);
    const { pieces } = await parseContents(bytes);
    return { digests: pieces.map(({ digest }) => digest), contents: digestOf(bytes) };
  } catch (error) {
    if (isFailure(error, "unsupported")) throw error;
    throw new Failure(
      "invalid",
      `${path} is no bundle, no contents of one and no list of digests: ${messageOf(error)}`,
    );
  }
}

async function readText(path: string): Promise<Buffer> {
  const stats = await stat(path);
  if (stats.isDirectory()) return await readBounded(join(path, CONTENTS_FILE));
  const file = await open(path, "r");
  const start = Buffer.alloc(512);
  try {
    await file.read(start, 0, start.length, 0);
  } finally {
    await file.close();
  }
  const isText = start[0] === 0x7b || start[0] === 0x5b || start[0] === 0x20 || start[0] === 0x0a;
  if (isText) return await readBounded(path);
  for await (const { name, sizeBytes, chunks } of readArchive(createReadStream(path))) {
    if (name !== CONTENTS_FILE || sizeBytes > MAX_BYTES) break;
    const found: Buffer[] = [];
    for await (const chunk of chunks()) found.push(chunk);
    return Buffer.concat(found);
  }
  throw new Failure("invalid", `it does not begin with ${CONTENTS_FILE}`);
}

async function readBounded(path: string): Promise<Buffer> {
  const { size } = await stat(path);
  if (size > MAX_BYTES) throw new Failure("invalid", "it is too large");
  return await readFile(path);
}

function listed(bytes: Buffer): Possession {
  const document: unknown = JSON.parse(bytes.toString("utf8"));
  const inner: unknown =
    typeof document === "object" && document !== null && "digests" in document ? document.digests : document;
  if (!Array.isArray(inner)) throw new Failure("invalid", "it holds no list");
  const digests = inner.map((entry: unknown) => {
    if (typeof entry === "string" && isDigest(entry)) return entry;
    throw new Failure("invalid", "it holds something that is no digest");
  });
  return { digests, contents: undefined };
}
