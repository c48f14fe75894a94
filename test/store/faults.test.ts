/**
 * Every system call of the write path, made to fail one by one, with every error that disks and kernels have for it.
 *
 * What is looked at is the same for all: the ingest fails as trouble of the storage, nothing has a name that was not
 * verified and made durable, neither file nor descriptor is left, and the next ingest of the same digest works.
 */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { digestOf, hexOf } from "../../src/oci/digest.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { assertDescriptors } from "../contracts/blobstore.ts";
import { pourInto } from "../contracts/writing.ts";
import { seededBytes } from "../kit/content.ts";
import { type DiskFault, type Errno, FaultyFiles } from "../kit/faulty-files.ts";
import { filesUnder } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";

const INJECTED: readonly Errno[] = ["ENOSPC", "EIO", "EMFILE", "EROFS", "ENOENT"];
const SIZE = 400_000;

async function open(files = new FaultyFiles()) {
  const dir = await makeTempDir("faults");
  const store = await DiskStore.open(dir.path, files);
  return {
    files,
    store,
    path: dir.path,
    stored: () => filesUnder(join(dir.path, "blobs")),
    partials: () => filesUnder(join(dir.path, "partial")),
    [Symbol.asyncDispose]: async () => {
      files.heal();
      await store.stop();
      await dir[Symbol.asyncDispose]();
    },
  };
}

/** Writes a blob as those do who write them: a body by a lane, a document in one go. Rejects with what went wrong. */
async function put(store: DiskStore, bytes: Buffer, as: "body" | "document"): Promise<void> {
  const ingest = await store.ingest(digestOf(bytes));
  try {
    ingest.declareSize(bytes.length);
    if (as === "document") ingest.write(bytes);
    else {
      const lane = ingest.lane(0);
      try {
        await pourInto(lane, bytes);
      } finally {
        lane.close();
      }
    }
    await (await ingest.finish()).stored;
  } catch (error) {
    await ingest.fail(error instanceof Error ? error : new Error(String(error)));
    throw error;
  } finally {
    ingest.close();
  }
}

/** The write path, call by call. */
const PATH: readonly (Omit<DiskFault, "errno"> & { readonly of?: "body" | "document"; readonly what: string })[] = [
  { what: "the partial file is made", call: "open", path: "/partial/" },
  { what: "a document is written", call: "write", of: "document" },
  { what: "the first bytes of a body are written", call: "threadWrite", of: "body" },
  { what: "the last bytes of a body are written", call: "threadWrite", skip: 1, of: "body" },
  { what: "the file is synced", call: "fdatasync" },
  { what: "it is made read-only", call: "fchmod" },
  { what: "its directory is made", call: "mkdir" },
  { what: "the parent of a new directory is opened", call: "open", path: "/blobs" },
  { what: "the parent of a new directory is synced", call: "fsync" },
  { what: "the directory of blobs is synced", call: "fsync", skip: 1 },
  { what: "it is named", call: "rename" },
  { what: "its directory is opened", call: "open", path: "/blobs", skip: 2 },
  { what: "its directory is synced", call: "fsync", skip: 2 },
];

for (const as of ["body", "document"] as const) {
  describe(`a ${as} that the disk fails`, () => {
    for (const { what, of, ...call } of PATH) {
      if (of !== undefined && of !== as) continue;
      test(`when ${what}`, async () => {
        for (const [seed, errno] of INJECTED.entries()) {
          await using made = await open();
          const bytes = seededBytes(SIZE, seed + 1);
          made.files.fail({ ...call, errno });
          await assert.rejects(put(made.store, bytes, as), (error) => {
            assert.ok(isFailure(error, "storage"), String(error));
            assert.match(error.message, new RegExp(errno));
            return true;
          });
          assert.deepEqual([await made.stored(), await made.partials()], [[], []], errno);
          assert.equal(made.store.has(digestOf(bytes)), false);
          made.files.heal();
          await put(made.store, bytes, as);
          assert.deepEqual(await made.store.read(digestOf(bytes), SIZE), bytes);
          await assertDescriptors(made.path, 0);
        }
      });
    }
  });
}

test("the table above has every call that a blob is stored by", async () => {
  await using made = await open();
  made.files.calls.length = 0;
  await put(made.store, seededBytes(SIZE), "document");
  const calls = made.files.calls.map((call) => call.split(" ")[0]);
  assert.deepEqual(
    [...new Set(calls)].sort(),
    [...new Set(PATH.map(({ call }) => call).filter((call) => call !== "threadWrite"))].sort(),
  );
  assert.equal(calls.filter((call) => call === "fsync").length, 3);
  assert.equal(calls.filter((call) => call === "open").length, 4);
});

test("a file that cannot be removed has no name as a blob, and is there to be removed later", async () => {
  await using made = await open();
  const bytes = seededBytes(SIZE);
  made.files.fail({ call: "fdatasync", errno: "EIO" });
  made.files.fail({ call: "unlink", errno: "EIO" });
  await assert.rejects(put(made.store, bytes, "body"), (error) => isFailure(error, "storage"));
  assert.deepEqual(await made.stored(), []);
  made.files.heal();
  const left = await made.store.partials();
  assert.equal(left.length, 1);
  await put(made.store, bytes, "body");
  for (const file of left) await made.store.removePartial(file);
  assert.deepEqual(await made.partials(), []);
  assert.deepEqual(await made.store.read(digestOf(bytes), SIZE), bytes);
});

test("what the disk will not sync or cut is not kept for later", async () => {
  for (const call of ["fdatasync", "ftruncate"] as const) {
    await using made = await open();
    const bytes = seededBytes(SIZE);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(SIZE);
    const lane = ingest.lane(0);
    await pourInto(lane, bytes.subarray(0, SIZE / 2));
    lane.close();
    made.files.fail({ call, errno: "EIO" });
    assert.equal(await ingest.suspend(new Failure("unreachable", "cut")), undefined);
    ingest.close();
    assert.deepEqual(await made.partials(), []);
    await assertDescriptors(made.path, 0);
  }
});

test("bytes that the disk did not take after all are not kept, though they were on their way when it was suspended", async () => {
  await using made = await open();
  const bytes = seededBytes(SIZE);
  const ingest = await made.store.ingest(digestOf(bytes));
  ingest.declareSize(SIZE);
  const lane = ingest.lane(0);
  made.files.fail({ call: "threadWrite", errno: "ENOSPC" });
  await pourInto(lane, bytes.subarray(0, 100_000)).catch(() => {});
  lane.close();
  assert.equal(await ingest.suspend(new Failure("unreachable", "cut")), undefined);
  ingest.close();
  assert.deepEqual([await made.partials(), await made.stored()], [[], []]);
});

test("what was kept and cannot be opened now fails as trouble of the storage, and is there afterwards", async () => {
  for (const call of ["open", "fstat", "ftruncate"] as const) {
    await using made = await open();
    const bytes = seededBytes(SIZE);
    const ingest = await made.store.ingest(digestOf(bytes));
    ingest.declareSize(SIZE);
    const lane = ingest.lane(0);
    await pourInto(lane, bytes.subarray(0, SIZE / 2));
    lane.close();
    const written = await ingest.suspend(new Failure("unreachable", "cut"));
    ingest.close();
    const kept = { file: ingest.file, sizeBytes: SIZE, prefixBytes: written?.writtenBytes ?? 0 };
    made.files.fail({ call, errno: "EMFILE" });
    await assert.rejects(made.store.ingest(digestOf(bytes), kept), (error) => isFailure(error, "storage"));
    made.files.heal();
    const again = await made.store.ingest(digestOf(bytes), kept);
    assert.equal(again.receivedBytes, SIZE / 2);
    await again.fail(new Error("over"));
    again.close();
    await assertDescriptors(made.path, 0);
  }
});

const copied: readonly { what: string; fails: boolean; fault?: Omit<DiskFault, "errno"> }[] = [
  { what: "all goes well", fails: false },
  { what: "the copy fails", fails: true, fault: { call: "copy" } },
  { what: "the copy is not synced", fails: true, fault: { call: "fdatasync", skip: 1 } },
  { what: "the copy is not named", fails: true, fault: { call: "rename", path: "/.incoming/" } },
  { what: "the original cannot be removed", fails: false, fault: { call: "unlink" } },
];

for (const { what, fails, fault } of copied) {
  test(`partial files on another device are copied beside the blobs, synced and named there: ${what}`, async () => {
    await using made = await open();
    const bytes = seededBytes(SIZE);
    made.files.fail({ call: "rename", errno: "EXDEV", path: "/partial/" });
    if (fault !== undefined) made.files.fail({ ...fault, errno: "EIO" });
    if (fails) {
      await assert.rejects(put(made.store, bytes, "body"), (error) => isFailure(error, "storage"));
      assert.deepEqual([await made.stored(), await made.partials()], [[], []]);
    } else {
      await put(made.store, bytes, "body");
      assert.deepEqual(await made.stored(), [
        join("sha256", hexOf(digestOf(bytes)).slice(0, 2), hexOf(digestOf(bytes))),
      ]);
    }
    made.files.heal();
    for (const file of await made.store.partials()) await made.store.removePartial(file);
    await put(made.store, bytes, "body");
    assert.deepEqual(await made.partials(), []);
    assert.deepEqual(await made.store.read(digestOf(bytes), SIZE), bytes);
    await assertDescriptors(made.path, 0);
  });
}

const OTHER_DEVICE = "/dev/shm";

test("partial files on a real second device", {
  skip: existsSync(OTHER_DEVICE) ? false : `${OTHER_DEVICE} is missing`,
}, async () => {
  await using dir = await makeTempDir("faults");
  const other = await mkdtemp(join(OTHER_DEVICE, "wharfinger-partial-"));
  try {
    await symlink(other, join(dir.path, "partial"));
    const files = new FaultyFiles();
    const store = await DiskStore.open(dir.path, files);
    const bytes = seededBytes(SIZE);
    await put(store, bytes, "body");
    assert.deepEqual(await store.read(digestOf(bytes), SIZE), bytes);
    assert.deepEqual([await filesUnder(other), (await filesUnder(join(dir.path, "blobs"))).length], [[], 1]);
    const devices = await Promise.all([other, dir.path].map(async (path) => (await stat(path)).dev));
    assert.equal(
      files.calls.some((call) => call.startsWith("copy ")),
      devices[0] !== devices[1],
    );
    await store.stop();
  } finally {
    await rm(other, { recursive: true });
  }
});

test("no two names of the store differ only in their letters' case", async () => {
  await using made = await open();
  for (let seed = 1; seed <= 3; seed += 1) await put(made.store, seededBytes(1000, seed), "document");
  const ingest = await made.store.ingest(digestOf(Buffer.from("x"), "sha512"));
  const names = await filesUnder(made.path);
  assert.equal(names.length, 4);
  for (const name of names) assert.equal(name, name.toLowerCase());
  await ingest.fail(new Error("over"));
  ingest.close();
});
