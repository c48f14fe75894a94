/** A store on disk with its index, and what looks after its truth, for tests. */
import { open, rm, stat, truncate } from "node:fs/promises";
import { Notices } from "../../src/base/notices.ts";
import { type Database, openDatabase } from "../../src/meta/database.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { Verified } from "../../src/meta/verified.ts";
import type { DamageFact } from "../../src/mirror/damage.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { Scrub, type ScrubParts } from "../../src/upkeep/scrub.ts";
import { Verifier } from "../../src/upkeep/verify.ts";
import { ManualClock } from "../kit/clock.ts";
import { seededBytes } from "../kit/content.ts";
import { makeTempDir } from "../kit/temp.ts";

export interface TruthScene extends AsyncDisposable, Omit<ScrubParts, "verified" | "inventory" | "store" | "clock"> {
  readonly root: string;
  readonly database: Database;
  readonly inventory: Inventory;
  readonly verified: Verified;
  readonly store: DiskStore;
  readonly clock: ManualClock;
  readonly notices: Notices<MirrorNotices>;
  readonly verifier: Verifier;
  readonly damage: DamageFact[];
  readonly forgotten: Digest[];
  newScrub(): Scrub;
  /** Stores it, with its row. */
  put(bytes: Buffer): Promise<Digest>;
  putFile(bytes: Buffer): Promise<Digest>;
}

export async function openTruthScene(): Promise<TruthScene> {
  const dir = await makeTempDir("scrub");
  const store = await DiskStore.open(dir.path);
  const database = openDatabase(dir.path);
  const repositories = new Repositories(database);
  const inventory = new Inventory(database);
  const tags = new Tags(database, repositories);
  const clock = new ManualClock();
  const notices = new Notices<MirrorNotices>();
  const damage: DamageFact[] = [];
  notices.on("blobDamaged", (fact) => damage.push(fact));
  const forgotten: Digest[] = [];
  const verifier = new Verifier(clock);
  const parts = {
    ...{ root: dir.path, database, inventory, store, clock, notices, verifier },
    verified: new Verified(database),
    holdings: new Holdings(database, { inventory, tags, repositories }),
    shelf: { forget: (digest: Digest) => void forgotten.push(digest) },
  };
  const putFile = async (bytes: Buffer) => {
    const ingest = await store.ingest(digestOf(bytes));
    ingest.write(bytes);
    await (await ingest.finish()).stored;
    ingest.close();
    return ingest.digest;
  };
  return {
    ...parts,
    ...{ damage, forgotten, putFile },
    newScrub: () => new Scrub(parts),
    async put(bytes) {
      const digest = await putFile(bytes);
      inventory.addBlob(digest, bytes.length, "docker.io", clock.now());
      return digest;
    },
    async [Symbol.asyncDispose]() {
      await verifier.stop();
      await store.stop();
      database.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Some blobs of growing sizes, in the order of their digests. */
export async function putMany(scene: TruthScene, count: number, sizeBytes = 1000): Promise<Digest[]> {
  const digests: Digest[] = [];
  for (let seed = 1; seed <= count; seed += 1) digests.push(await scene.put(seededBytes(sizeBytes + seed, seed)));
  return digests.sort();
}

/** Changes one byte of a stored file, as a disk might. */
export async function flip(path: string, at = 100): Promise<void> {
  const file = await open(path, "r+");
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, at);
  } finally {
    await file.close();
  }
}

export async function shorten(path: string, byBytes = 1): Promise<void> {
  await truncate(path, (await stat(path)).size - byBytes);
}

export async function lose(path: string): Promise<void> {
  await rm(path);
}
