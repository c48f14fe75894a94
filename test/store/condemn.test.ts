/** Damaged files: their readers are stopped, nobody opens them again, and they are put where one may look at them. */
import assert from "node:assert/strict";
import { link, mkdir, open, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { identityOf } from "../../src/store/condemned.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { seededBytes } from "../kit/content.ts";
import { makeTempDir } from "../kit/temp.ts";

interface Scene extends AsyncDisposable {
  readonly root: string;
  readonly store: DiskStore;
}

async function scene(): Promise<Scene> {
  const dir = await makeTempDir("condemn");
  const store = await DiskStore.open(dir.path);
  return {
    root: dir.path,
    store,
    async [Symbol.asyncDispose]() {
      await store.stop();
      await dir[Symbol.asyncDispose]();
    },
  };
}

async function put(store: DiskStore, bytes: Buffer): Promise<Digest> {
  const ingest = await store.ingest(digestOf(bytes));
  ingest.write(bytes);
  await (await ingest.finish()).stored;
  ingest.close();
  return ingest.digest;
}

async function damage(path: string): Promise<void> {
  const file = await open(path, "r+");
  await file.write(Buffer.from("rotten"), 0, 6, 100);
  await file.close();
}

test("whoever reads a file that is condemned is told so, and it lies in quarantine as it was", async () => {
  await using at = await scene();
  const digest = await put(at.store, seededBytes(1000));
  const other = await put(at.store, seededBytes(500, 7));
  const path = at.store.pathOf(digest);
  await damage(path);
  const rotten = await readFile(path);
  const reader = await at.store.open(digest);
  const bystander = await at.store.open(other);
  assert.equal(reader?.failure(), undefined);
  const where = await at.store.condemn(digest, "does not match its digest", identityOf(await stat(path)));
  assert.equal(where, join(at.root, "quarantine", `sha256-${hexOf(digest)}`));
  assert.deepEqual(await readFile(where), rotten);
  assert.match(String(reader?.failure()), /corrupt|does not match its digest/);
  assert.equal(bystander?.failure(), undefined);
  assert.equal(at.store.has(digest), false);
  assert.equal(await at.store.open(digest), undefined);
  reader?.close();
  bystander?.close();
});

test("what is stored anew after that is read like any other", async () => {
  await using at = await scene();
  const bytes = seededBytes(1000);
  const digest = await put(at.store, bytes);
  await damage(at.store.pathOf(digest));
  const reader = await at.store.open(digest);
  await at.store.condemn(digest, "is damaged", identityOf(await stat(at.store.pathOf(digest))));
  await put(at.store, bytes);
  const again = await at.store.open(digest, bytes.length);
  assert.equal(again?.failure(), undefined);
  assert.equal(reader?.failure()?.message, "the stored blob is damaged");
  assert.deepEqual(await at.store.read(digest, 1000), bytes);
  again?.close();
  reader?.close();
});

test("who opened the one that was stored anew before the word came is not stopped", async () => {
  await using at = await scene();
  const bytes = seededBytes(1000);
  const digest = await put(at.store, bytes);
  const path = at.store.pathOf(digest);
  const old = await at.store.open(digest);
  await damage(path);
  const seen = identityOf(await stat(path));
  await rm(path);
  await put(at.store, bytes);
  const fresh = await at.store.open(digest, bytes.length);
  // As a front process hears of it: late.
  at.store.disown(digest, "is damaged", seen);
  assert.equal(old?.failure()?.message, "the stored blob is damaged");
  assert.equal(fresh?.failure(), undefined);
  old?.close();
  fresh?.close();
});

test("followers of the fill that stored it are told as well, those of the next fill are not", async () => {
  await using at = await scene();
  const bytes = seededBytes(1000);
  const first = await at.store.ingest(digestOf(bytes));
  first.write(bytes);
  await (await first.finish()).stored;
  const follower = first.follow(() => {});
  const next = await at.store.ingest(first.digest);
  next.declareSize(bytes.length);
  const waiting = next.follow(() => {});
  await damage(at.store.pathOf(first.digest));
  await at.store.condemn(first.digest, "is damaged", identityOf(await stat(at.store.pathOf(first.digest))));
  assert.equal(follower.failure()?.message, "the stored blob is damaged");
  assert.equal(waiting.failure(), undefined);
  next.write(bytes);
  await (await next.finish()).stored;
  assert.equal(waiting.failure(), undefined);
  for (const one of [follower, waiting, first, next]) one.close();
});

test("a file that many read, and is kept open for them, is let go of", async () => {
  await using at = await scene();
  const bytes = seededBytes(1000);
  const digest = await put(at.store, bytes);
  for (let opens = 0; opens < 12; opens += 1) (await at.store.open(digest, bytes.length))?.close();
  await damage(at.store.pathOf(digest));
  await at.store.condemn(digest, "is damaged", identityOf(await stat(at.store.pathOf(digest))));
  assert.equal(await at.store.open(digest, bytes.length), undefined);
});

test("a file that cannot be taken away is not opened all the same, until another is in its place", async () => {
  await using at = await scene();
  const bytes = seededBytes(1000);
  const digest = await put(at.store, bytes);
  await damage(at.store.pathOf(digest));
  at.store.disown(digest, "is damaged", identityOf(await stat(at.store.pathOf(digest))));
  assert.equal(await at.store.open(digest, bytes.length), undefined);
  assert.equal(await at.store.read(digest, 1000), undefined);
  await put(at.store, bytes);
  assert.deepEqual(await at.store.read(digest, 1000), bytes);
});

test("a good file that has taken its place meanwhile stays where it is", async () => {
  await using at = await scene();
  const bytes = seededBytes(1000);
  const digest = await put(at.store, bytes);
  const path = at.store.pathOf(digest);
  await damage(path);
  // Kept, so that the file system gives its number to nobody else.
  await link(path, join(at.root, "old"));
  const seen = identityOf(await stat(path));
  await put(at.store, bytes);
  assert.equal(await at.store.condemn(digest, "is damaged", seen), "gone");
  assert.deepEqual(await at.store.read(digest, 1000), bytes);
  await rm(path, { force: true });
  assert.equal(await at.store.condemn(digest, "is damaged", seen), "gone");
});

test("a directory in a blob's place is moved away with all that is in it", async () => {
  await using at = await scene();
  const bytes = seededBytes(1000);
  const digest = await put(at.store, bytes);
  const path = at.store.pathOf(digest);
  for (const name of ["one", "two"]) {
    await rm(path, { recursive: true });
    await mkdir(path);
    await writeFile(join(path, name), name);
    assert.deepEqual(await readdir(await at.store.condemn(digest, "is a directory")), [name]);
    await put(at.store, bytes);
  }
  assert.deepEqual(await at.store.read(digest, 1000), bytes);
});

test("the quarantine keeps a few files, those that came last", async () => {
  await using at = await scene();
  const digests: Digest[] = [];
  for (let seed = 0; seed < 40; seed += 1) {
    const digest = await put(at.store, seededBytes(200, seed));
    digests.push(digest);
    await damage(at.store.pathOf(digest));
    await at.store.condemn(digest, "is damaged", identityOf(await stat(at.store.pathOf(digest))));
  }
  const kept = new Set(await readdir(join(at.root, "quarantine")));
  assert.equal(kept.size, 32);
  assert.ok(kept.has(`sha256-${hexOf(digests.at(-1) ?? digestOf(Buffer.alloc(0)))}`));
});

test("where nothing can be kept a damaged file is removed", async () => {
  await using at = await scene();
  const digest = await put(at.store, seededBytes(1000));
  await writeFile(join(at.root, "quarantine"), "in the way");
  const path = at.store.pathOf(digest);
  assert.equal(await at.store.condemn(digest, "is damaged", identityOf(await stat(path))), "removed");
  assert.equal(at.store.has(digest), false);
});
