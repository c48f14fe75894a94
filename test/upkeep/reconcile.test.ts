/** Rows and files are made to agree, whatever either lost, while others go on storing and removing. */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { Graph } from "../../src/meta/graph.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { openIndex } from "../../src/meta/recovery.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { reconcile } from "../../src/upkeep/reconcile.ts";
import { seededBytes } from "../kit/content.ts";
import { describe as describeContent, makeImage, makeIndex } from "../kit/image.ts";
import { makeTempDir } from "../kit/temp.ts";
import { place } from "../meta/rooms.ts";

const app = place("docker.io", "team/app");
const never = new AbortController().signal;

async function withStore(work: (parts: Awaited<ReturnType<typeof openParts>>) => Promise<void>): Promise<void> {
  await using dir = await makeTempDir("reconcile");
  const parts = await openParts(dir.path);
  try {
    await work(parts);
  } finally {
    parts.index.close();
    await parts.store.stop();
  }
}

async function openParts(root: string) {
  const index = openIndex(root, false);
  const store = await DiskStore.open(root);
  const repositories = new Repositories(index.database);
  const tags = new Tags(index.database, repositories);
  const inventory = new Inventory(index.database);
  const forgotten: Digest[] = [];
  return {
    ...{ root, index, store, tags, inventory, forgotten },
    graph: new Graph(index.database, repositories),
    holdings: new Holdings(index.database, { inventory, tags, repositories }),
    shelf: { forget: (digest: Digest) => void forgotten.push(digest) },
    parentsOf: (digest: Digest) =>
      Number(index.database.prepare("SELECT parents FROM blobs WHERE digest = ?").get(digest)?.["parents"]),
    /** A complete file, as an ingest leaves it. */
    put(bytes: Buffer, algorithm: "sha256" | "sha512" = "sha256"): Digest {
      const digest = digestOf(bytes, algorithm);
      const path = store.pathOf(digest);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes);
      chmodSync(path, 0o444);
      return digest;
    },
  };
}

test("files without a row get one, manifests their type and what they name, and configurations are no manifests", () =>
  withStore(async (parts) => {
    const { put, inventory, holdings, parentsOf } = parts;
    const one = makeImage({ layers: [500] });
    const two = makeImage({ seed: 2, layers: [700], format: "docker" });
    const all = makeIndex([one, two]);
    const signature = makeImage({ seed: 3, layers: [10], subject: one.descriptor });
    const blobs = [one, two, signature].flatMap((image) => [...image.blobs.values()]);
    const manifests = [one.manifest, two.manifest, signature.manifest, all.manifest];
    for (const bytes of [...blobs, ...manifests]) put(bytes);
    const long = put(seededBytes(5000, 9), "sha512");
    // Looks like a manifest, as real configurations do.
    const configuration = put(Buffer.from('{"config":{"Env":[]},"rootfs":{"type":"layers"},"architecture":"amd64"}'));
    const bill = put(Buffer.from('{"schemaVersion":"x","spdx":true}'));
    const report = await reconcile(parts, { signal: never });
    const expected = new Set([...blobs, ...manifests].map((bytes) => digestOf(bytes))).size + 3;
    assert.deepEqual([report.files, report.added, report.linked, report.dropped], [expected, expected, 4, 0]);
    assert.equal(report.addedBytes, inventory.bytes);
    assert.equal(inventory.blobs, expected);
    assert.equal(inventory.findSize(long), 5000);
    for (const image of [one, two, signature, all])
      assert.equal(inventory.findMediaType(image.digest), image.mediaType);
    for (const none of [configuration, bill]) assert.equal(inventory.findMediaType(none), undefined);
    assert.deepEqual([parentsOf(all.digest), parentsOf(one.digest), parentsOf(signature.digest)], [0, 1, 1]);
    const unit = holdings.findUnit(all.digest).map(({ digest }) => digest);
    assert.deepEqual(new Set(unit), new Set([...blobs, ...manifests].map((bytes) => digestOf(bytes))));
    const again = await reconcile(parts, { signal: never });
    assert.deepEqual([again.added, again.linked, again.dropped, again.damaged], [0, 0, 0, 0]);
  }));

test("rows without a file go, with their tags and permissions, and nothing else does", () =>
  withStore(async (parts) => {
    const { put, inventory, tags, graph, store, forgotten } = parts;
    const kept = put(Buffer.from("kept"));
    const gone = [...Array(50).keys()].map((at) => put(Buffer.from(`gone ${at}`)));
    for (const digest of [kept, ...gone]) {
      inventory.addBlob(digest, digest === kept ? 4 : `gone ${gone.indexOf(digest)}`.length, "docker.io", 1);
      tags.put(app, parseTag(digest.slice(7, 20)), digest, 1);
      graph.link(app, [{ digest, sizeBytes: 1, confirmed: true }]);
    }
    // One of them with the whole of its directory.
    for (const digest of gone) rmSync(store.pathOf(digest));
    const [first] = gone;
    assert.ok(first !== undefined);
    rmSync(dirname(store.pathOf(first)), { recursive: true });
    const report = await reconcile(parts, { signal: never });
    const isKept = dirname(store.pathOf(kept)) !== dirname(store.pathOf(first));
    assert.ok(isKept);
    assert.deepEqual([report.dropped, report.added, inventory.blobs, inventory.bytes], [50, 0, 1, 4]);
    assert.deepEqual(new Set(forgotten), new Set(gone));
    assert.equal(tags.find(app, parseTag(kept.slice(7, 20)))?.digest, kept);
    for (const digest of gone) {
      assert.equal(tags.find(app, parseTag(digest.slice(7, 20))), undefined);
      assert.equal(graph.findReachable(app, digest), undefined);
    }
  }));

test("where another directory is in the place of the blobs, no row goes until somebody says that they are lost", () =>
  withStore(async (parts) => {
    const { root, put, inventory, tags, holdings, shelf } = parts;
    for (let at = 0; at < 20; at += 1) {
      const digest = put(Buffer.from(`blob ${at}`));
      inventory.addBlob(digest, `blob ${at}`.length, "docker.io", 1);
      tags.put(app, parseTag(`t${at}`), digest, 1);
    }
    const isUnmounted = (error: unknown) => isFailure(error, "storage") && error.message.includes("not mounted");
    await parts.store.stop();
    renameSync(join(root, "blobs"), join(root, "away"));
    // As the start of a mirror finds it where the file system is not mounted.
    const store = await DiskStore.open(root);
    const start = { store, inventory, holdings, shelf };
    await assert.rejects(reconcile(start, { signal: never }), isUnmounted);
    assert.deepEqual([inventory.blobs, tags.namesOf(app).length], [20, 20]);
    // Another disk, with another store.
    rmSync(join(root, "blobs"), { recursive: true });
    await using other = await makeTempDir("other");
    await (await DiskStore.open(other.path)).stop();
    renameSync(join(other.path, "blobs"), join(root, "blobs"));
    await assert.rejects(reconcile(start, { signal: never }), isUnmounted);
    assert.equal(inventory.blobs, 20);
    rmSync(join(root, "blobs"), { recursive: true });
    renameSync(join(root, "away"), join(root, "blobs"));
    assert.equal((await reconcile(start, { signal: never })).dropped, 0);
    rmSync(join(root, "blobs"), { recursive: true });
    mkdirSync(join(root, "blobs"));
    store.acceptHome();
    assert.equal((await reconcile(start, { signal: never })).dropped, 20);
    await store.stop();
  }));

test("a file of another size than its row goes where its bytes are wrong, and corrects the row where they are right", () =>
  withStore(async (parts) => {
    const { put, inventory, store } = parts;
    const short = put(seededBytes(9000, 1));
    const right = put(seededBytes(8000, 2));
    inventory.addBlob(short, 9000, "docker.io", 1);
    inventory.addBlob(right, 77, "docker.io", 1);
    chmodSync(store.pathOf(short), 0o644);
    truncateSync(store.pathOf(short), 100);
    const report = await reconcile(parts, { signal: never });
    assert.deepEqual([report.damaged, report.dropped, report.added], [1, 1, 0]);
    assert.equal(inventory.findSize(short), undefined);
    assert.equal(store.has(short), false);
    assert.equal(inventory.findSize(right), 8000);
    const counted = new Inventory(parts.index.database);
    assert.deepEqual([inventory.blobs, inventory.bytes, counted.bytes], [1, 8000, 8000]);
  }));

test("a document that does not match its name is counted as a file, and not believed", () =>
  withStore(async (parts) => {
    const { store, inventory } = parts;
    const one = makeImage({ layers: [500] });
    const path = store.pathOf(one.digest);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, one.manifest.toString().replace(/\d\d/, "99"));
    await reconcile(parts, { signal: never });
    assert.equal(inventory.findSize(one.digest), one.manifest.length);
    assert.equal(inventory.findMediaType(one.digest), undefined);
  }));

test("what is no blob's file is left alone", () =>
  withStore(async (parts) => {
    const { root, inventory } = parts;
    const stray = join(root, "blobs", "sha256", "ab");
    mkdirSync(join(stray, `ab${"0".repeat(62)}`), { recursive: true });
    for (const name of ["README", "ab", `cd${"0".repeat(62)}`, `AB${"0".repeat(62)}`])
      writeFileSync(join(stray, name), "x");
    mkdirSync(join(root, "blobs", "md5", "ab"), { recursive: true });
    const report = await reconcile(parts, { signal: never });
    assert.deepEqual([report.added, report.dropped, report.unreadable, inventory.blobs], [0, 0, 1, 0]);
  }));

test("where a directory cannot be read its rows are believed", () =>
  withStore(async (parts) => {
    const { put, inventory, store } = parts;
    const digest = put(Buffer.from("there"));
    inventory.addBlob(digest, 5, "docker.io", 1);
    const directory = dirname(store.pathOf(digest));
    rmSync(directory, { recursive: true });
    writeFileSync(directory, "a file where a directory should be");
    const report = await reconcile(parts, { signal: never });
    assert.deepEqual([report.unreadable, report.dropped], [1, 0]);
    assert.equal(inventory.findSize(digest), 5);
  }));

test("what is stored and removed meanwhile is counted once, or not at all", () =>
  withStore(async (parts) => {
    const { put, inventory, holdings, store } = parts;
    const early = [...Array(300).keys()].map((at) => put(Buffer.from(`early ${at}`)));
    let running = true;
    const others = (async () => {
      for (let at = 0; running; at += 1) {
        const bytes = Buffer.from(`late ${at}`);
        const digest = put(bytes);
        await new Promise((resolve) => setImmediate(resolve));
        inventory.addBlob(digest, bytes.length, "docker.io", 1);
        const leaving = early[at];
        if (leaving === undefined || inventory.findSize(leaving) === undefined) continue;
        holdings.remove([leaving], false);
        await new Promise((resolve) => setImmediate(resolve));
        await store.remove(leaving);
      }
    })();
    for (let round = 0; round < 3; round += 1) await reconcile(parts, { signal: never });
    running = false;
    await others;
    await reconcile(parts, { signal: never });
    const rows = inventory.sizesBetween("sha256:", "sha256:g", 1_000_000);
    for (const { digest } of rows) assert.ok(store.has(digest));
    assert.equal(rows.length, inventory.blobs);
    assert.equal(new Inventory(parts.index.database).bytes, inventory.bytes);
  }));

test("a file that is replaced by a good one while it is read is not taken for the old one", () =>
  withStore(async (parts) => {
    const { root, put, inventory, store } = parts;
    const bytes = seededBytes(5000, 3);
    const digest = put(Buffer.from("other bytes"));
    const wrong = digestOf(bytes);
    mkdirSync(dirname(store.pathOf(wrong)), { recursive: true });
    renameSync(store.pathOf(digest), store.pathOf(wrong));
    inventory.addBlob(wrong, bytes.length, "docker.io", 1);
    let replaced = false;
    const asked = {
      ...parts,
      inventory: new Proxy(inventory, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name);
          if (typeof value !== "function") return value;
          return (...given: unknown[]) => {
            // The first question after it was read.
            if (name === "findSize" && !replaced) {
              replaced = true;
              renameSync(store.pathOf(wrong), join(root, "old"));
              put(bytes);
            }
            return Reflect.apply(value, target, given);
          };
        },
      }),
    };
    const report = await reconcile(asked, { signal: never });
    assert.ok(replaced);
    assert.deepEqual([report.damaged, report.dropped], [0, 0]);
    assert.deepEqual(await store.read(wrong, 10_000), bytes);
    assert.equal(inventory.findSize(wrong), bytes.length);
  }));

test("what is stored anew while rows are dropped keeps its file", () =>
  withStore(async (parts) => {
    const { put, inventory, store } = parts;
    // Of one directory, so that they go together.
    const texts = [...Array(3000).keys()].map((at) => `blob ${at}`);
    const [first = ""] = texts;
    const shardOf = (text: string) => digestOf(Buffer.from(text)).slice(0, 9);
    const together = texts.filter((text) => shardOf(text) === shardOf(first));
    assert.ok(together.length > 3);
    for (const text of together) inventory.addBlob(digestOf(Buffer.from(text)), text.length, "docker.io", 1);
    let isFirst = true;
    const shelf = {
      forget(digest: Digest) {
        if (!isFirst) return;
        isFirst = false;
        setImmediate(() => {
          for (const text of together) {
            if (digestOf(Buffer.from(text)) === digest) continue;
            inventory.addBlob(put(Buffer.from(text)), text.length, "docker.io", 2);
          }
        });
      },
    };
    const report = await reconcile({ ...parts, shelf }, { signal: never });
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(report.dropped, together.length);
    assert.equal(inventory.blobs, together.length - 1);
    for (const { digest } of inventory.sizesBetween("sha256:", "sha256:g", 1000)) assert.ok(store.has(digest));
  }));

test("it stops when it is told to, what was done stays done, and the next run ends it", () =>
  withStore(async (parts) => {
    const { put, inventory } = parts;
    for (let at = 0; at < 2000; at += 1) put(Buffer.from(`blob ${at}`));
    const stop = new AbortController();
    const progress: number[] = [];
    const stopped = reconcile(parts, {
      signal: stop.signal,
      onProgress: (done) => {
        progress.push(done);
        if (progress.length === 100) stop.abort(new Error("enough"));
      },
    });
    await assert.rejects(stopped, /enough/);
    assert.equal(progress.length, 100);
    const before = inventory.blobs;
    assert.ok(before > 200 && before < 2000);
    const report = await reconcile(parts, { signal: never });
    assert.equal(report.added, 2000 - before);
    assert.equal(inventory.blobs, 2000);
    await assert.rejects(reconcile(parts, { signal: AbortSignal.abort(new Error("not now")) }), /not now/);
  }));

test("a thorough look finds manifests that have a row and no type", () =>
  withStore(async (parts) => {
    const { put, inventory } = parts;
    const one = makeImage({ layers: [500] });
    put(one.manifest);
    inventory.addBlob(one.digest, one.manifest.length, "docker.io", 1);
    assert.equal((await reconcile(parts, { signal: never })).linked, 0);
    assert.equal((await reconcile(parts, { signal: never, thorough: true })).linked, 1);
    assert.equal(inventory.findMediaType(one.digest), one.mediaType);
    assert.equal(inventory.findUpstream(one.digest), "docker.io");
    assert.equal(describeContent(one.manifest, one.mediaType).digest, one.digest);
  }));
