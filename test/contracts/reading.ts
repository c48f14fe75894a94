/**
 * Reads what a follower shows, the way the front does: positional reads below the watermark, a wait where there is no more.
 */
import { read } from "node:fs";
import { promisify } from "node:util";
import type { Follower } from "../../src/store/follower.ts";

const readAsync = promisify(read) as (
  fd: number,
  buffer: Buffer,
  offset: number,
  length: number,
  position: number,
) => Promise<{ bytesRead: number }>;

/** The bytes from `start` up to, not including, `end`; all of them must be visible. */
export async function readVisible(follower: Follower, start: number, end: number): Promise<Buffer> {
  const bytes = Buffer.alloc(end - start);
  let at = 0;
  while (at < bytes.length) {
    const { bytesRead } = await readAsync(follower.fd, bytes, at, bytes.length - at, start + at);
    if (bytesRead === 0) throw new Error(`the file ends at ${start + at}, although ${end} bytes are visible`);
    at += bytesRead;
  }
  return bytes;
}

/** Resolves as soon as more than `position` is visible, or there is a failure. */
export function waitBeyond(follower: Follower, position: number): Promise<void> {
  return new Promise((resolve) => follower.wait(position, resolve));
}

/** Everything from `start` to the end, as it comes. @throws what ended the ingest. */
export async function readToEnd(follower: Follower, start = 0): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (let at = start; at < follower.sizeBytes; ) {
    await waitBeyond(follower, at);
    const failure = follower.failure();
    if (failure !== undefined) throw failure;
    const visible = follower.visible();
    chunks.push(await readVisible(follower, at, visible));
    at = visible;
  }
  return Buffer.concat(chunks);
}
