/**
 * Makes rows and files agree, behind a mirror that serves meanwhile.
 *
 * A file without a row gets one; a row without its file goes, with the tags and permissions that hang on it; manifests
 * whose names the index does not know get them. It may be stopped at any moment and begun again: what was done stays
 * done. One directory of 1/256 of the files is looked at at a time, so memory is bounded.
 */
import { readdir, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { errnoOf, Failure } from "../base/failure.ts";
import type { Holdings } from "../meta/holdings.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { ReconciledFact } from "../mirror/notices.ts";
import type { Shelf } from "../mirror/shelf.ts";
import { type Digest, type DigestAlgorithm, hexOf, isDigest } from "../oci/digest.ts";
import type { DiskStore } from "../store/disk.ts";
import { Documents } from "./reconcile-documents.ts";
import { Slices } from "./slices.ts";

export interface ReconcileParts {
  readonly store: Pick<DiskStore, "has" | "pathOf" | "isThere" | "condemn" | "letGo" | "expectHome">;
  readonly inventory: Pick<
    Inventory,
    "findSize" | "sizesBetween" | "addBlobs" | "correctSize" | "addManifest" | "findMediaType" | "findUnlinked"
  >;
  readonly holdings: Pick<Holdings, "remove">;
  readonly shelf: Pick<Shelf, "forget">;
}

export interface ReconcileOptions {
  /** Ends it promptly; what was done stays done. */
  readonly signal: AbortSignal;
  /** Looks into files that have a row already, for manifests that are not known as such. */
  readonly thorough?: boolean;
  /** After each 1/512 of the way, with what was found so far. */
  readonly onProgress?: (done: number, report: ReconcileReport) => void;
}

export interface ReconcileReport extends ReconciledFact {
  /** Files that had another size than their row, and other bytes than their name says; they are gone. */
  readonly damaged: number;
  /** Files and directories that the disk would not show; they are left as they are. */
  readonly unreadable: number;
}

type Counts = { -readonly [K in Exclude<keyof ReconcileReport, "durationMs">]: number };

interface Found {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly writtenAt: number;
}

const ALGORITHMS: readonly DigestAlgorithm[] = ["sha256", "sha512"];
const SHARDS = 256;
const ROWS_AT_ONCE = 500;
const FILES_AT_ONCE = 32;
/** A list of signatures and such; what is beyond leaves by itself, and not with what it is about. */
const MAX_EARLY = 50_000;
/** Each may be 4 MiB. */
const DOCUMENTS_AT_ONCE = 8;
/** Each is a dozen statements. */
const DROPS_AT_ONCE = 20;

/**
 * @throws the signal's reason; Failure `storage` where the index cannot be written, or a row has no file and the directory
 *   of the blobs is not the one it was.
 */
export async function reconcile(parts: ReconcileParts, options: ReconcileOptions): Promise<ReconcileReport> {
  const began = performance.now();
  const work = new Reconciling(parts, options);
  const report = () => ({ ...work.counts, durationMs: performance.now() - began });
  let done = 0;
  for (const algorithm of ALGORITHMS) {
    for (let shard = 0; shard < SHARDS; shard += 1) {
      await work.compare(algorithm, shard.toString(16).padStart(2, "0"));
      done += 1;
      options.onProgress?.(done / (ALGORITHMS.length * SHARDS), report());
    }
  }
  await work.linkEarly();
  await work.linkKnown();
  return report();
}

class Reconciling {
  readonly counts: Counts = { files: 0, added: 0, addedBytes: 0, linked: 0, dropped: 0, damaged: 0, unreadable: 0 };
  readonly #parts: ReconcileParts;
  readonly #slices: Slices;
  readonly #documents: Documents;
  readonly #thorough: boolean;
  readonly #early: Digest[] = [];

  constructor(parts: ReconcileParts, { signal, thorough }: ReconcileOptions) {
    this.#parts = parts;
    this.#slices = new Slices(signal);
    this.#documents = new Documents(parts, signal);
    this.#thorough = thorough ?? false;
  }

  /** All digests of one algorithm that begin with the same two characters: one directory. */
  async compare(algorithm: DigestAlgorithm, shard: string): Promise<void> {
    // Rows before names: what is stored meanwhile has its file before its row, what leaves loses its row before its file.
    const rows = await this.#rowsOf(algorithm, shard);
    const names = await this.#namesIn(algorithm, shard);
    if (names === undefined) return;
    for (let at = 0; at < names.length; at += FILES_AT_ONCE) {
      const found = await this.#lookAt(names.slice(at, at + FILES_AT_ONCE));
      await this.#settle(found, rows);
    }
    for (const digest of names) rows.delete(digest);
    await this.#drop([...rows.keys()]);
  }

  async #rowsOf(algorithm: DigestAlgorithm, shard: string): Promise<Map<Digest, number>> {
    const rows = new Map<Digest, number>();
    let after = `${algorithm}:${shard}`;
    // "g" comes after every hex digit.
    const before = `${after}g`;
    for (;;) {
      const page = this.#parts.inventory.sizesBetween(after, before, ROWS_AT_ONCE);
      for (const { digest, sizeBytes } of page) rows.set(digest, sizeBytes);
      await this.#slices.pass();
      const last = page.at(-1);
      if (last === undefined || page.length < ROWS_AT_ONCE) return rows;
      after = last.digest;
    }
  }

  /** Undefined where the directory cannot be read: its rows are believed then. */
  async #namesIn(algorithm: DigestAlgorithm, shard: string): Promise<Digest[] | undefined> {
    try {
      const some = `${algorithm}:${shard.padEnd(algorithm === "sha256" ? 64 : 128, "0")}`;
      if (!isDigest(some)) return undefined;
      const names = await readdir(dirname(this.#parts.store.pathOf(some)));
      this.#slices.refresh();
      return names.flatMap((name) => {
        const digest = `${algorithm}:${name}`;
        return isDigest(digest) && hexOf(digest).startsWith(shard) ? [digest] : [];
      });
    } catch (error) {
      this.#slices.refresh();
      if (errnoOf(error) === "ENOENT") return [];
      this.counts.unreadable += 1;
      return undefined;
    }
  }

  async #lookAt(digests: readonly Digest[]): Promise<Found[]> {
    const found = await Promise.all(
      digests.map(async (digest): Promise<Found | undefined> => {
        try {
          const stats = await stat(this.#parts.store.pathOf(digest));
          if (!stats.isFile()) throw new Failure("storage", "not a file");
          return { digest, sizeBytes: stats.size, writtenAt: Math.min(stats.mtimeMs, Date.now()) };
        } catch (error) {
          if (errnoOf(error) !== "ENOENT") this.counts.unreadable += 1;
          return undefined;
        }
      }),
    );
    this.#slices.refresh();
    const there = found.filter((one) => one !== undefined);
    this.counts.files += there.length;
    return there;
  }

  async #settle(found: readonly Found[], rows: ReadonlyMap<Digest, number>): Promise<void> {
    const fresh = found.filter(({ digest }) => !rows.has(digest));
    this.#add(fresh);
    const odd = found.filter(({ digest, sizeBytes }) => rows.has(digest) && rows.get(digest) !== sizeBytes);
    for (const one of odd) await this.#judge(one);
    const unread = this.#thorough ? found : fresh;
    for (let at = 0; at < unread.length; at += DOCUMENTS_AT_ONCE) {
      await Promise.all(unread.slice(at, at + DOCUMENTS_AT_ONCE).map((one) => this.#link(one)));
    }
    await this.#slices.pass();
  }

  #add(found: readonly Found[]): void {
    const { inventory, store } = this.#parts;
    // Whoever stored it in the meantime knows more of it.
    // And what has been evicted since it was looked at is not there.
    const missing = found.filter(({ digest }) => inventory.findSize(digest) === undefined && store.has(digest));
    if (missing.length === 0) return;
    inventory.addBlobs(
      missing.map(({ digest, sizeBytes, writtenAt }) => ({ digest, sizeBytes, upstream: "", storedAt: writtenAt })),
    );
    this.counts.added += missing.length;
    this.counts.addedBytes += missing.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** Either the row is wrong or the file: its bytes tell. */
  async #judge({ digest }: Found): Promise<void> {
    const { inventory, holdings, shelf, store } = this.#parts;
    const read = await this.#documents.read(digest);
    this.#slices.refresh();
    const knownBytes = inventory.findSize(digest);
    if (read === undefined || knownBytes === undefined || knownBytes === read.sizeBytes) return;
    // It may have been replaced by a good one while it was read.
    if (!store.isThere(digest, read.identity)) return;
    shelf.forget(digest);
    if (read.isWhole) {
      inventory.correctSize(digest, read.sizeBytes);
      return;
    }
    holdings.remove([digest], false);
    this.counts.damaged += 1;
    this.counts.dropped += 1;
    const reason = `has ${read.sizeBytes} instead of ${knownBytes} bytes`;
    await store.condemn(digest, reason, read.identity).catch(() => {});
  }

  async #link({ digest, sizeBytes }: Found): Promise<void> {
    if (this.#parts.inventory.findMediaType(digest) !== undefined) return;
    const naming = await this.#documents.link(digest, sizeBytes);
    this.#slices.refresh();
    if (naming === undefined) return;
    this.counts.linked += 1;
    const { subject } = naming;
    if (subject === undefined || this.#parts.inventory.findSize(subject) !== undefined) return;
    if (this.#early.length < MAX_EARLY) this.#early.push(digest);
  }

  async #drop(digests: readonly Digest[]): Promise<void> {
    const { inventory, holdings, shelf, store } = this.#parts;
    for (let at = 0; at < digests.length; at += DROPS_AT_ONCE) {
      const gone = digests
        .slice(at, at + DROPS_AT_ONCE)
        .filter((digest) => inventory.findSize(digest) !== undefined && !store.has(digest));
      if (gone.length > 0) {
        store.expectHome();
        holdings.remove(gone, false);
      }
      for (const digest of gone) {
        shelf.forget(digest);
        store.letGo(digest);
      }
      this.counts.dropped += gone.length;
      await this.#slices.pass();
    }
  }

  /** What is about something that had no row then. */
  async linkEarly(): Promise<void> {
    for (const digest of this.#early) {
      await this.#documents.link(digest, undefined);
      await this.#slices.pass();
    }
  }

  /** Manifests that an older format knew, without what they name. */
  async linkKnown(): Promise<void> {
    let after = "";
    for (;;) {
      const page = this.#parts.inventory.findUnlinked(after, ROWS_AT_ONCE);
      for (const { digest, mediaType } of page) {
        if ((await this.#documents.link(digest, undefined, mediaType)) !== undefined) this.counts.linked += 1;
        await this.#slices.pass();
      }
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.digest;
    }
  }
}
