/** Blobs as files: the contract, and what only a disk can do. */
import assert from "node:assert/strict";
import { chmod, mkdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { identityOfOpen } from "../../src/store/condemned.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { describeBlobStore } from "../contracts/blobstore.ts";
import { readToEnd } from "../contracts/reading.ts";
import { seededBytes } from "../kit/content.ts";
import { FaultyFiles } from "../kit/faulty-files.ts";
import { filesUnder } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";

describeBlobStore("disk", async () => {
  const dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  return {
    store,
    mark: dir.path,
    leftovers: () => filesUnder(join(dir.path, "partial")),
    [Symbol.asyncDispose]: async () => {
      await store.stop();
      await dir[Symbol.asyncDispose]();
    },
  };
});

const pathOf = (root: string, digest: Digest) =>
  join(root, "blobs", "sha256", hexOf(digest).slice(0, 2), hexOf(digest));

async function put(store: DiskStore, bytes: Buffer): Promise<Digest> {
  const ingest = await store.ingest(digestOf(bytes));
  ingest.write(bytes);
  await (await ingest.finish()).stored;
  ingest.close();
  return ingest.digest;
}

test("what an earlier run left unfinished is there to be listed and removed, what it finished is there", async () => {
  await using dir = await makeTempDir("store");
  const bytes = seededBytes(1000);
  const digest = await put(await DiskStore.open(dir.path), bytes);
  const left = `sha256-${hexOf(digest)}.1`;
  await writeFile(join(dir.path, "partial", left), "half");
  await mkdir(join(dir.path, "blobs", ".incoming"));
  await writeFile(join(dir.path, "blobs", ".incoming", "copy"), "half");
  const store = await DiskStore.open(dir.path);
  const ingest = await store.ingest(digest);
  assert.deepEqual((await store.partials()).sort(), ["copy", left]);
  for (const name of ["copy", left, ingest.file, "../lost", ".incoming", "gone"]) await store.removePartial(name);
  assert.deepEqual(await store.partials(), []);
  assert.deepEqual(await filesUnder(join(dir.path, "partial")), [ingest.file]);
  await ingest.fail(new Error("over"));
  ingest.close();
  assert.deepEqual(await filesUnder(join(dir.path, "partial")), []);
  assert.deepEqual(await store.read(digest, 1000), bytes);
});

test("a stored blob is a read-only file named by its digest, and holds just its bytes", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const bytes = seededBytes(1000);
  const digest = await put(store, bytes);
  const path = pathOf(dir.path, digest);
  assert.equal((await stat(path)).mode & 0o7777, 0o444);
  assert.deepEqual(await readFile(path), bytes);
  assert.equal((await filesUnder(dir.path)).length, 1);
});

test("a blob that is still being written is in no place where it could be taken for a stored one", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const bytes = seededBytes(300_000);
  const ingest = await store.ingest(digestOf(bytes));
  ingest.declareSize(bytes.length);
  ingest.write(bytes);
  assert.deepEqual(await filesUnder(join(dir.path, "blobs")), []);
  assert.equal((await filesUnder(join(dir.path, "partial"))).length, 1);
  await ingest.fail(new Error("over"));
  ingest.close();
  assert.deepEqual(await filesUnder(dir.path), []);
});

test("something else than a file in a blob's place is trouble of the storage, and is not read", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const digest = digestOf(Buffer.from("x"));
  await mkdir(pathOf(dir.path, digest), { recursive: true });
  await assert.rejects(store.open(digest), (error) => isFailure(error, "storage") && /not a file/.test(error.message));
  await assert.rejects(store.read(digest, 10), (error) => isFailure(error, "storage"));
  await assert.rejects(store.remove(digest), (error) => isFailure(error, "storage"));
});

test("a file in a directory's place is trouble of the storage", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const bytes = Buffer.from("x");
  const digest = digestOf(bytes);
  await writeFile(join(dir.path, "blobs", "sha256"), "");
  await assert.rejects(store.open(digest), (error) => isFailure(error, "storage"));
  const ingest = await store.ingest(digest);
  ingest.write(bytes);
  const { stored } = await ingest.finish();
  await assert.rejects(stored, (error) => isFailure(error, "storage"));
  ingest.close();
  assert.deepEqual(await filesUnder(join(dir.path, "partial")), []);
});

test("a blob that cannot be named is still read by those who follow it", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const bytes = seededBytes(200_000);
  await writeFile(join(dir.path, "blobs", "sha256"), "");
  const ingest = await store.ingest(digestOf(bytes));
  ingest.declareSize(bytes.length);
  const follower = ingest.follow(() => {});
  const reading = readToEnd(follower);
  ingest.write(bytes);
  const { stored } = await ingest.finish();
  await assert.rejects(stored, (error) => isFailure(error, "storage"));
  assert.deepEqual(await reading, bytes);
  follower.close();
  ingest.close();
});

test("a directory that cannot be written fails at start with one clear text", async () => {
  await using dir = await makeTempDir("store");
  const file = join(dir.path, "file");
  await writeFile(file, "");
  for (const root of [file, join(file, "below")]) {
    await assert.rejects(DiskStore.open(root), (error) => {
      assert.ok(isFailure(error, "storage"));
      assert.ok(error.message.includes(`the cache directory ${root} cannot be written`), error.message);
      return true;
    });
  }
});

test("a blob cut short behind the store's back fails the read instead of being padded", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const digest = await put(store, seededBytes(1000));
  const path = pathOf(dir.path, digest);
  await chmod(path, 0o600);
  const follower = await store.open(digest);
  await truncate(path, 10);
  assert.equal((await store.read(digest, 1000))?.length, 10);
  await assert.rejects(readToEnd(follower ?? assert.fail()), /ends at/);
  follower?.close();
});

test("a damaged file that many have opened is gone with its name, and never comes from a kept descriptor", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const bytes = seededBytes(1000);
  const digest = await put(store, bytes);
  const path = pathOf(dir.path, digest);
  await rm(path);
  await writeFile(path, "short");
  for (let at = 0; at < 20; at += 1) {
    const reader = await store.open(digest, bytes.length);
    assert.equal(reader?.sizeBytes, 5);
    reader?.close();
  }
  // By another process: this one's store does not learn of it.
  await rm(path);
  assert.equal(await store.open(digest, bytes.length), undefined);
  assert.equal(await store.open(digest), undefined);
  await store.stop();
});

test("a blob is open as long as one of its readers in this process is", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const digest = await put(store, seededBytes(100));
  assert.equal(store.isOpen(digest), false);
  const readers = [await store.open(digest, 100), await store.open(digest)];
  for (const reader of readers) {
    assert.equal(store.isOpen(digest), true);
    reader?.close();
    reader?.close();
  }
  assert.equal(store.isOpen(digest), false);
});

test("a file that was found unreadable is discarded, the one that has taken its place is not", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const bytes = seededBytes(100);
  const digest = await put(store, bytes);
  const reader = await store.open(digest, 100);
  const seen = identityOfOpen(reader?.fd ?? assert.fail("not stored")) ?? assert.fail("no identity");
  assert.equal(await store.discardSeen(digest, seen), true);
  assert.equal(await store.discardSeen(digest, seen), false);
  await put(store, bytes);
  assert.equal(await store.discardSeen(digest, seen), false);
  assert.equal(store.has(digest), true);
  reader?.close();
});

test("a discarded blob has no name any more when the call returns, one stored anew keeps it, and readers read on", async () => {
  await using dir = await makeTempDir("store");
  const store = await DiskStore.open(dir.path);
  const bytes = seededBytes(100);
  const digest = await put(store, bytes);
  const reader = await store.open(digest, 100);
  const gone = store.discard(digest);
  assert.equal(store.has(digest), false);
  await put(store, bytes);
  await gone;
  assert.equal(store.has(digest), true);
  assert.deepEqual(await filesUnder(join(dir.path, "partial")), []);
  assert.ok(reader !== undefined);
  assert.deepEqual(await readToEnd(reader), bytes);
  await store.discard(digest);
  await store.discard(digest);
  assert.deepEqual(await filesUnder(dir.path), []);
});

test("a discarded file that will not go is told of, counts as long as it is there, and goes when it can", async () => {
  await using dir = await makeTempDir("store");
  const files = new FaultyFiles();
  const store = await DiskStore.open(dir.path, files);
  const digest = await put(store, seededBytes(1000));
  const other = await put(store, seededBytes(10, 2));
  files.fail({ call: "unlink", errno: "EIO" });
  await assert.rejects(store.discard(digest), (error) => isFailure(error, "storage"));
  assert.deepEqual([store.has(digest), store.lingeringBytes], [false, 1000]);
  await assert.rejects(store.discard(other), (error) => isFailure(error, "storage"));
  await store.retryRemoving();
  assert.equal(store.lingeringBytes, 1010);
  files.heal();
  await store.retryRemoving();
  assert.deepEqual([store.lingeringBytes, await filesUnder(dir.path)], [0, []]);
  await store.stop();
});
