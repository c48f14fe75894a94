/**
 * The thread that hashes and writes. It takes orders one after the other, and never waits but for the disk.
 *
 * Bytes are written where they belong as soon as they come, and hashed as they are if they are next in order. What came
 * too early is read back from the file when its turn has come, a piece between two orders, so that it keeps nobody
 * else's bytes waiting.
 */
import { createHash, type Hash } from "node:crypto";
import { readSync, writeSync } from "node:fs";
import { parentPort, receiveMessageOnPort } from "node:worker_threads";
import { errnoOf, messageOf } from "../base/failure.ts";
import { type Digest, type DigestAlgorithm, finishDigest } from "../oci/digest.ts";
import { Extents } from "./extents.ts";

export type Order =
  | {
      readonly do: "open";
      readonly file: number;
      readonly fd: number;
      readonly algorithm: DigestAlgorithm;
      /** Written by an earlier one. */
      readonly prefixBytes: number;
    }
  | {
      readonly do: "write";
      readonly file: number;
      readonly slab: number;
      /** With the first piece of a slab. */
      readonly memory: SharedArrayBuffer | undefined;
      readonly start: number;
      readonly length: number;
      readonly at: number;
    }
  | { readonly do: "finish"; readonly file: number }
  /** The descriptor may be closed when this is answered. */
  | { readonly do: "end"; readonly file: number }
  | { readonly do: "forget"; readonly slab: number };

export type Report = { readonly file: number } & (
  | { readonly told: "done"; pieces: number }
  | { readonly told: "failed"; readonly message: string; readonly code: string | undefined }
  | { readonly told: "digest"; readonly digest: Digest }
  | { readonly told: "ended" }
);

/** How much is done before it is told. */
const TURN_BYTES = 1024 * 1024;

interface OpenedFile {
  readonly fd: number;
  readonly algorithm: DigestAlgorithm;
  readonly hash: Hash;
  readonly written: Extents;
  hashedTo: number;
  finishing: boolean;
  failed: boolean;
}

const files = new Map<number, OpenedFile>();
const slabs = new Map<number, Uint8Array>();
/** Files that have bytes which came before their turn. */
const lagging = new Set<number>();
const readBack = Buffer.allocUnsafeSlow(TURN_BYTES);
let reports: Report[] = [];

/** @returns how many bytes were worked on. */
function obey(order: Order): number {
  if (order.do === "forget") {
    slabs.delete(order.slab);
    return 0;
  }
  if (order.do === "open") {
    const { fd, algorithm, prefixBytes } = order;
    const hash = createHash(algorithm);
    const written = new Extents();
    written.add(0, prefixBytes);
    if (prefixBytes > 0) lagging.add(order.file);
    files.set(order.file, {
      fd,
      algorithm,
      hash,
      written,
      hashedTo: 0,
      finishing: false,
      failed: false,
    });
    return 0;
  }
  const file = files.get(order.file);
  if (order.do === "end") {
    files.delete(order.file);
    lagging.delete(order.file);
    reports.push({ file: order.file, told: "ended" });
    return 0;
  }
  if (order.do === "write") {
    if (order.memory !== undefined) slabs.set(order.slab, new Uint8Array(order.memory));
    const bytes = slabs.get(order.slab)?.subarray(order.start, order.start + order.length);
    if (file !== undefined && bytes !== undefined)
      attempt(order.file, file, () => take(order.file, file, bytes, order.at));
    const last = reports.at(-1);
    if (last?.file === order.file && last.told === "done") last.pieces += 1;
    else reports.push({ file: order.file, told: "done", pieces: 1 });
    return order.length;
  }
  if (file !== undefined) {
    file.finishing = true;
    conclude(order.file, file);
  }
  return 0;
}

function attempt(id: number, file: OpenedFile, work: () => void): void {
  if (file.failed) return;
  try {
    work();
  } catch (error) {
    file.failed = true;
    lagging.delete(id);
    reports.push({ file: id, told: "failed", message: messageOf(error), code: errnoOf(error) });
  }
}

function take(id: number, file: OpenedFile, bytes: Uint8Array, at: number): void {
  for (let from = 0; from < bytes.length; ) {
    // After a short count the disk is filling up, or a signal came: the rest either goes or tells why not.
    const count = writeSync(file.fd, bytes, from, bytes.length - from, at + from);
    if (count === 0) throw new Error("nothing was written");
    from += count;
  }
  file.written.add(at, at + bytes.length);
  if (at === file.hashedTo) {
    file.hash.update(bytes);
    file.hashedTo += bytes.length;
  }
  if (file.written.prefix > file.hashedTo) lagging.add(id);
}

/** Hashes a piece of what came before its turn. */
function catchUp(id: number, file: OpenedFile): void {
  const wanted = Math.min(readBack.length, file.written.prefix - file.hashedTo);
  const count = wanted === 0 ? 0 : readSync(file.fd, readBack, 0, wanted, file.hashedTo);
  if (count === 0 && wanted > 0) throw new Error("the file is shorter than what was written to it");
  file.hash.update(readBack.subarray(0, count));
  file.hashedTo += count;
  if (file.hashedTo < file.written.prefix) return;
  lagging.delete(id);
  conclude(id, file);
}

function conclude(id: number, file: OpenedFile): void {
  if (!file.finishing || file.failed || lagging.has(id)) return;
  file.finishing = false;
  reports.push({ file: id, told: "digest", digest: finishDigest(file.algorithm, file.hash) });
}

const port = parentPort;
if (port !== null) {
  port.on("message", (first: Order) => {
    let bytes = obey(first);
    for (;;) {
      const next = bytes < TURN_BYTES ? (receiveMessageOnPort(port) as { message: Order } | undefined) : undefined;
      if (next !== undefined) {
        bytes += obey(next.message);
        continue;
      }
      for (const id of lagging) {
        const file = files.get(id);
        if (file !== undefined) attempt(id, file, () => catchUp(id, file));
      }
      if (reports.length > 0) port.postMessage(reports);
      else if (bytes === 0 && lagging.size === 0) return;
      reports = [];
      bytes = 0;
    }
  });
}
