/** Bundles of a stage, taken to another one. */

import assert from "node:assert/strict";
import type { KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { streamBundle } from "../../src/bundle/export.ts";
import { type ImportResult, importArchive } from "../../src/bundle/import.ts";
import { parseImageName, parsePlace } from "../../src/bundle/names.ts";
import { type BundlePlan, planBundle } from "../../src/bundle/plan.ts";
import { END, headerOf, paddingOf } from "../../src/bundle/tarball.ts";
import { type Digest, digestOf, parseDigest } from "../../src/oci/digest.ts";
import { parsePlatforms } from "../../src/oci/platform.ts";
import type { Stage } from "./stage.ts";

export const never = new AbortController().signal;

export interface Wanted {
  readonly references: readonly string[];
  readonly platforms?: string;
  readonly have?: Iterable<Digest>;
  readonly since?: Digest;
}

export async function plan(stage: Stage, wanted: Wanted): Promise<BundlePlan> {
  return await planBundle(stage.parts, {
    references: wanted.references.map((text) => parseImageName(text)),
    platforms: wanted.platforms === undefined ? [] : parsePlatforms(wanted.platforms),
    have: new Set(wanted.have),
    since: wanted.since,
    createdAt: stage.clock.now(),
  });
}

/** The whole bundle in memory. */
export async function pack(stage: Stage, wanted: Wanted): Promise<Buffer> {
  const { body, lengthBytes } = streamBundle(stage.store, await plan(stage, wanted), never);
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  if (bytes.length !== lengthBytes) throw new Error(`announced ${lengthBytes}, came ${bytes.length}`);
  return bytes;
}

export interface Unpacking {
  readonly verifyKey?: KeyObject;
  readonly as?: string;
  readonly signal?: AbortSignal;
}

export async function unpack(stage: Stage, bytes: Buffer | Readable, options: Unpacking = {}): Promise<ImportResult> {
  // In pieces of odd sizes, as a network would bring it.
  const body = Buffer.isBuffer(bytes) ? Readable.from(pieces(bytes), { objectMode: false }) : bytes;
  return await importArchive(stage.parts, body, {
    verifyKey: options.verifyKey,
    as: options.as === undefined ? undefined : parsePlace(options.as),
    spoolDirectory: `${stage.dir.path}/import`,
    signal: options.signal ?? never,
  });
}

function* pieces(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 40_007) yield bytes.subarray(at, at + 40_007);
}

/** Files of an archive that this writer made, in its order. */
export function filesOf(tar: Buffer): { name: string; bytes: Buffer }[] {
  const files: { name: string; bytes: Buffer }[] = [];
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0; ) {
    const name = tar.toString("latin1", at, at + 100).replace(/\0.*$/s, "");
    const size = Number.parseInt(tar.toString("latin1", at + 124, at + 135), 8);
    files.push({ name, bytes: tar.subarray(at + 512, at + 512 + size) });
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

export function tarOf(files: readonly { name: string; bytes: Buffer }[]): Buffer {
  return Buffer.concat([
    ...files.flatMap(({ name, bytes }) => [headerOf(name, bytes.length), bytes, paddingOf(bytes.length)]),
    END,
  ]);
}

/** What an archive may leave that was not taken: blobs that are what their names say, with their rows, and no more. */
export async function assertHarmless(there: Stage): Promise<void> {
  const { blobs, partial } = await there.files();
  assert.deepEqual(partial, []);
  assert.equal(there.rooms.inventory.blobs, blobs.length);
  assert.deepEqual(there.rooms.repositories.list(), []);
  for (const hex of blobs) {
    const digest = parseDigest(`sha256:${hex}`);
    const bytes = await readFile(there.store.pathOf(digest));
    assert.equal(digestOf(bytes), digest);
    assert.equal(there.rooms.inventory.findSize(digest), bytes.length);
    assert.equal(there.rooms.inventory.findMediaType(digest), undefined);
  }
}
