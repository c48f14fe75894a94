/** What a scrub finds, what it does about it, and that it can be stopped and resumed at any moment. */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { Graph } from "../../src/meta/graph.ts";
import { type Place, Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { identityOf } from "../../src/store/condemned.ts";
import { Scrub, type ScrubOptions } from "../../src/upkeep/scrub.ts";
import type { Verifier } from "../../src/upkeep/verify.ts";
import { isDamage } from "../../src/upkeep/verify-thread.ts";
import { seededBytes } from "../kit/content.ts";
import { place } from "../meta/rooms.ts";
import { flip, lose, openTruthScene, putMany, shorten, type TruthScene } from "./scrub-scene.ts";

const UNLIMITED: ScrubOptions = { bandwidth: null, signal: new AbortController().signal };
const DAY = 24 * 60 * 60_000;

const verifiedAt = (scene: TruthScene, digest: Digest) => scene.verified.find(digest)?.verifiedAt;
/** How many threads of ours read files now; the kernel knows them by their names. */
async function threads(): Promise<number> {
  const tasks = await readdir("/proc/self/task");
  const names = await Promise.all(
    tasks.map((task) => readFile(`/proc/self/task/${task}/comm`, "utf8").catch(() => "")),
  );
  return names.filter((name) => name.trim() === "verify").length;
}

const quarantined = (scene: TruthScene) => readdir(join(scene.root, "quarantine"));
const nameOf = (digest: Digest) => `sha256-${hexOf(digest)}`;

test("where all is well, everything is read and said to be verified, and nothing else happens", async () => {
  await using scene = await openTruthScene();
  const digests = await putMany(scene, 20);
  scene.clock.jump(DAY);
  const report = await scene.newScrub().run(UNLIMITED);
  const bytes = digests.reduce((sum, digest) => sum + (scene.inventory.findSize(digest) ?? 0), 0);
  const { startedAt, endedAt, ...counts } = report;
  assert.deepEqual(counts, {
    ...{ blobs: 20, bytes, damaged: 0, damagedBytes: 0, missing: 0, adopted: 0, adoptedBytes: 0 },
    ...{ strays: 0, unchecked: 0, resumed: false, damage: [] },
  });
  assert.ok(startedAt <= endedAt);
  for (const digest of digests) assert.equal(verifiedAt(scene, digest), scene.clock.now());
  assert.equal(scene.inventory.blobs, 20);
  assert.deepEqual(scene.forgotten, []);
  assert.equal(scene.newScrub().isUnfinished, false);
});

test("an empty store is scrubbed at once, one without its directory too", async () => {
  await using scene = await openTruthScene();
  assert.equal((await scene.newScrub().run(UNLIMITED)).blobs, 0);
  await rm(join(scene.root, "blobs"), { recursive: true });
  assert.equal((await scene.newScrub().run(UNLIMITED)).blobs, 0);
});

test("one flipped bit is found: the file goes to quarantine, the row and what is in memory are forgotten", async () => {
  await using scene = await openTruthScene();
  const digests = await putMany(scene, 10);
  const [bad = digestOf(Buffer.alloc(0))] = digests.slice(4);
  await flip(scene.store.pathOf(bad));
  const report = await scene.newScrub().run(UNLIMITED);
  assert.equal(report.damaged, 1);
  assert.equal(report.damage[0]?.damage, "digest");
  assert.equal(report.damage[0]?.where, join(scene.root, "quarantine", nameOf(bad)));
  assert.deepEqual(await quarantined(scene), [nameOf(bad)]);
  assert.equal(scene.inventory.findSize(bad), undefined);
  assert.equal(scene.store.has(bad), false);
  assert.deepEqual(scene.forgotten, [bad]);
  assert.equal(scene.inventory.blobs, 9);
  assert.equal(scene.damage.length, 1);
});

test("a file that is too short or too long, or empty, is damaged, and said to have the wrong size", async () => {
  await using scene = await openTruthScene();
  const [short, long, empty] = (await putMany(scene, 3)).map((digest) => ({
    digest,
    path: scene.store.pathOf(digest),
  }));
  assert.ok(short !== undefined && long !== undefined && empty !== undefined);
  await shorten(short.path);
  await writeFile(long.path, "more", { flag: "a" });
  await writeFile(empty.path, "");
  const report = await scene.newScrub().run(UNLIMITED);
  assert.deepEqual(
    report.damage.map(({ damage }) => damage),
    ["size", "size", "size"],
  );
  assert.match(report.damage.find(({ digest }) => digest === empty.digest)?.reason ?? "", /has 0 instead of \d+ bytes/);
  assert.equal(scene.inventory.blobs, 0);
});

test("a row whose file is gone is dropped, with what hangs on it, and nobody is alarmed", async () => {
  await using scene = await openTruthScene();
  const [gone, there] = await putMany(scene, 2);
  assert.ok(gone !== undefined && there !== undefined);
  await lose(scene.store.pathOf(gone));
  const report = await scene.newScrub().run(UNLIMITED);
  assert.equal(report.missing, 1);
  assert.equal(report.damaged, 0);
  assert.equal(scene.inventory.findSize(gone), undefined);
  assert.deepEqual(scene.forgotten, [gone]);
  assert.deepEqual(scene.damage, []);
});

test("a good file without a row gets one, a bad one is taken away", async () => {
  await using scene = await openTruthScene();
  const good = await scene.putFile(seededBytes(500, 1));
  const bad = await scene.putFile(seededBytes(600, 2));
  await flip(scene.store.pathOf(bad));
  const report = await scene.newScrub().run(UNLIMITED);
  assert.equal(report.adopted, 1);
  assert.equal(report.adoptedBytes, 500);
  assert.equal(scene.inventory.findSize(good), 500);
  assert.equal(report.damaged, 1);
  assert.deepEqual(await quarantined(scene), [nameOf(bad)]);
});

test("where the row is wrong and the file right, the row is corrected", async () => {
  await using scene = await openTruthScene();
  const digest = await scene.putFile(seededBytes(500, 1));
  scene.inventory.addBlob(digest, 499, "docker.io", 0);
  const report = await scene.newScrub().run(UNLIMITED);
  assert.equal(report.damaged, 0);
  assert.equal(scene.inventory.findSize(digest), 500);
  assert.equal(scene.inventory.bytes, 500);
});

test("directories and links in a blob's place go to quarantine, and nothing behind a link is read or moved", async () => {
  await using scene = await openTruthScene();
  const [directory, link] = await putMany(scene, 2);
  assert.ok(directory !== undefined && link !== undefined);
  await rm(scene.store.pathOf(directory));
  await mkdir(scene.store.pathOf(directory));
  await writeFile(join(scene.store.pathOf(directory), "inside"), "x");
  await rm(scene.store.pathOf(link));
  await symlink("/etc/hostname", scene.store.pathOf(link));
  const report = await scene.newScrub().run(UNLIMITED);
  assert.deepEqual(
    report.damage.map(({ damage }) => damage),
    ["no-file", "no-file"],
  );
  assert.deepEqual((await quarantined(scene)).sort(), [nameOf(directory), nameOf(link)].sort());
  assert.equal(await readlink(join(scene.root, "quarantine", nameOf(link))), "/etc/hostname");
  assert.equal(scene.inventory.blobs, 0);
});

test("what the disk cannot read is damaged; what this process lacks is not", async () => {
  await using scene = await openTruthScene();
  const [bad, unlucky, fine] = await putMany(scene, 3);
  assert.ok(bad !== undefined && unlucky !== undefined && fine !== undefined);
  const verifier = {
    look: async (...[path, digest, reading]: Parameters<Verifier["look"]>) => {
      const identity = identityOf(await stat(path));
      if (digest === bad) return { found: "unreadable", message: "EIO: i/o error, read", identity } as const;
      if (digest === unlucky) return { found: "unchecked", message: "EMFILE: too many open files" } as const;
      return await scene.verifier.look(path, digest, reading);
    },
  };
  const report = await new Scrub({ ...scene, verifier }).run(UNLIMITED);
  assert.equal(report.damaged, 1);
  assert.equal(report.damage[0]?.damage, "unreadable");
  assert.equal(report.unchecked, 1);
  assert.equal(scene.store.has(unlucky), true);
  assert.equal(scene.store.has(bad), false);
  assert.equal(scene.inventory.blobs, 2);
});

test("a file that this process may not read is not damaged, one that the disk cannot read is", () => {
  const judged = ["EIO", "EUCLEAN", "EBADMSG", "EACCES", "EPERM", "ENXIO", "EMFILE", undefined].map(isDamage);
  assert.deepEqual(judged, [true, true, true, false, false, false, false, false]);
});

test("many damaged ones in a row stop a scrub, which goes on from there when it is begun again", async () => {
  await using scene = await openTruthScene();
  const digests = (await putMany(scene, 60)).toSorted();
  for (const digest of digests.slice(10, 45)) await flip(scene.store.pathOf(digest));
  const scrub = scene.newScrub();
  await assert.rejects(scrub.run(UNLIMITED), /^Failure: 20 blobs in a row are damaged/);
  assert.deepEqual([scene.damage.length, scene.inventory.blobs, scrub.isUnfinished], [20, 40, true]);
  const report = await scene.newScrub().run(UNLIMITED);
  assert.deepEqual([report.resumed, report.damaged, report.blobs], [true, 35, 60]);
  assert.equal(scene.inventory.blobs, 25);
});

test("what has no blob's name is counted and left alone", async () => {
  await using scene = await openTruthScene();
  const [digest] = await putMany(scene, 1);
  assert.ok(digest !== undefined);
  const directory = dirname(scene.store.pathOf(digest));
  await writeFile(join(directory, "README"), "x");
  await writeFile(join(directory, `${"0".repeat(62)}zz`), "x");
  const report = await scene.newScrub().run(UNLIMITED);
  assert.equal(report.strays, 2);
  assert.equal(report.damaged, 0);
  assert.equal((await readdir(directory)).length, 3);
});

test("a pinned blob that is damaged leaves like any other, and is told to be pinned", async () => {
  await using scene = await openTruthScene();
  const [digest] = await putMany(scene, 1);
  assert.ok(digest !== undefined);
  scene.database.prepare("UPDATE blobs SET held = 1 WHERE digest = ?").run(digest);
  await flip(scene.store.pathOf(digest));
  const report = await scene.newScrub().run(UNLIMITED);
  assert.equal(report.damage[0]?.pinned, true);
  assert.equal(scene.store.has(digest), false);
});

test("a damaged layer of a pinned image is told to be pinned, and one of another image is not", async () => {
  await using scene = await openTruthScene();
  const [index, manifest, layer, other] = await putMany(scene, 4);
  assert.ok(index !== undefined && manifest !== undefined && layer !== undefined && other !== undefined);
  scene.inventory.addManifest(index, OCI_MANIFEST, { children: [manifest], subject: undefined });
  scene.inventory.addManifest(manifest, OCI_MANIFEST, { children: [layer], subject: undefined });
  scene.database.prepare("UPDATE blobs SET held = 1 WHERE digest = ?").run(index);
  await flip(scene.store.pathOf(layer));
  await flip(scene.store.pathOf(other));
  await scene.newScrub().run(UNLIMITED);
  const told = new Map(scene.damage.map(({ digest, pinned }) => [digest, pinned]));
  assert.deepEqual([told.get(layer), told.get(other)], [true, false]);
});

test("a blob of another algorithm, and a large one, are read like the others", async () => {
  await using scene = await openTruthScene();
  const bytes = seededBytes(5_000_000, 3);
  const large = await scene.put(bytes);
  const other = digestOf(bytes, "sha512");
  const ingest = await scene.store.ingest(other);
  ingest.write(bytes);
  await (await ingest.finish()).stored;
  ingest.close();
  scene.inventory.addBlob(other, bytes.length, "", 0);
  await flip(scene.store.pathOf(other), 4_999_999);
  const report = await scene.newScrub().run(UNLIMITED);
  assert.equal(report.blobs, 2);
  assert.equal(report.bytes, 10_000_000);
  assert.deepEqual(
    report.damage.map(({ digest }) => digest),
    [other],
  );
  assert.ok(scene.store.has(large));
});

test("one that is stopped goes on where it was, in another process too, and reports the whole", async () => {
  await using scene = await openTruthScene();
  const digests = await putMany(scene, 30);
  const [early = "", late = ""] = [digests[3], digests[25]];
  await flip(scene.store.pathOf(early as Digest));
  await flip(scene.store.pathOf(late as Digest));
  scene.clock.jump(DAY);
  const stopping = new AbortController();
  const looked: Digest[] = [];
  const counting = (stopAfter: number) => ({
    look: async (...asked: Parameters<Verifier["look"]>) => {
      looked.push(asked[1]);
      if (looked.length === stopAfter) stopping.abort(new Error("stopped"));
      return await scene.verifier.look(...asked);
    },
  });
  const first = new Scrub({ ...scene, verifier: counting(11) });
  await assert.rejects(first.run({ ...UNLIMITED, signal: stopping.signal }), /stopped/);
  assert.equal(first.isUnfinished, true);
  assert.equal(verifiedAt(scene, digests[9] as Digest), scene.clock.now());
  assert.notEqual(verifiedAt(scene, digests[10] as Digest), scene.clock.now());

  looked.length = 0;
  const second = new Scrub({ ...scene, verifier: counting(-1) });
  assert.equal(second.isUnfinished, true);
  const report = await second.run(UNLIMITED);
  assert.deepEqual(looked, digests.slice(10));
  assert.equal(report.resumed, true);
  assert.equal(report.blobs, 30);
  assert.equal(report.damaged, 2);
  assert.equal(second.isUnfinished, false);

  looked.length = 0;
  const third = await new Scrub({ ...scene, verifier: counting(-1) }).run(UNLIMITED);
  assert.equal(looked.length, 28);
  assert.equal(third.resumed, false);
});

test("one that is to begin anew does, and a note that is not understood is no note", async () => {
  await using scene = await openTruthScene();
  await putMany(scene, 5);
  const stopped = AbortSignal.abort(new Error("stopped"));
  const scrub = scene.newScrub();
  await assert.rejects(scrub.run({ ...UNLIMITED, signal: stopped }));
  assert.equal(scrub.isUnfinished, true);
  assert.equal((await scrub.run({ ...UNLIMITED, restart: true })).resumed, false);
  for (const text of ["", "{}", "[]", "null", '{"startedAt":1,"after":"sha256:../..","counts":{}}']) {
    scene.database.prepare("INSERT OR REPLACE INTO facts VALUES ('scrub', ?)").run(text);
    assert.equal((await scrub.run(UNLIMITED)).blobs, 5, text);
  }
});

test("some blobs alone are read, which is no scrub of everything", async () => {
  await using scene = await openTruthScene();
  const digests = await putMany(scene, 5);
  const only = digests.slice(1, 3);
  await flip(scene.store.pathOf(digests[0] as Digest));
  const told: unknown[] = [];
  scene.notices.on("scrubEnded", (fact) => told.push(fact));
  const report = await scene.newScrub().run({ ...UNLIMITED, only });
  assert.deepEqual([report.blobs, report.damaged], [2, 0]);
  assert.deepEqual(told, []);
  assert.equal(scene.verified.lastEndedAt, undefined);
  assert.equal(scene.newScrub().isUnfinished, false);
});

test("a disk that was unmounted costs the index nothing", async () => {
  await using scene = await openTruthScene();
  await putMany(scene, 3);
  await rename(join(scene.root, "blobs"), join(scene.root, "elsewhere"));
  await assert.rejects(scene.newScrub().run(UNLIMITED), (error) => isFailure(error, "storage"));
  assert.equal(scene.inventory.blobs, 3);
  // An empty directory to mount it on.
  await mkdir(join(scene.root, "blobs"));
  await assert.rejects(scene.newScrub().run(UNLIMITED), (error) => isFailure(error, "storage"));
  assert.equal(scene.inventory.blobs, 3);
  await rm(join(scene.root, "blobs"), { recursive: true });
  await rename(join(scene.root, "elsewhere"), join(scene.root, "blobs"));
  assert.equal((await scene.newScrub().run(UNLIMITED)).missing, 0);
});

test("an index that cannot be written ends it, as trouble of the storage", async () => {
  await using scene = await openTruthScene();
  await putMany(scene, 3);
  scene.database.exec("PRAGMA query_only = 1");
  await assert.rejects(scene.newScrub().run(UNLIMITED), (error) => isFailure(error, "storage"));
  scene.database.exec("PRAGMA query_only = 0");
  assert.equal((await scene.newScrub().run(UNLIMITED)).blobs, 3);
});

test("a second one is refused while one runs, and its progress can be seen", async () => {
  await using scene = await openTruthScene();
  await putMany(scene, 3, 200_000);
  const scrub = scene.newScrub();
  const running = scrub.run({ ...UNLIMITED, bandwidth: 100_000 });
  await assert.rejects(scrub.run(UNLIMITED), (error) => isFailure(error, "overloaded"));
  const totals = () => [scrub.progress?.totalBlobs, scrub.progress?.totalBytes];
  assert.deepEqual(totals(), [3, 600_006]);
  await scene.clock.during(running);
  assert.deepEqual(totals(), [undefined, undefined]);
});

test("no more bytes a second are read than allowed, by the clock", async () => {
  await using scene = await openTruthScene();
  await putMany(scene, 5, 1_000_000);
  await putMany(scene, 50, 100);
  const begun = scene.clock.now();
  const read: { at: number; bytes: number }[] = [];
  const verifier = {
    look: (path: string, digest: Digest, reading: Parameters<Verifier["look"]>[2]) =>
      scene.verifier.look(path, digest, {
        ...reading,
        onRead(bytes) {
          read.push({ at: scene.clock.now(), bytes });
          reading.onRead?.(bytes);
        },
      }),
  };
  const report = await scene.clock.during(new Scrub({ ...scene, verifier }).run({ ...UNLIMITED, bandwidth: 500_000 }));
  const tookMs = scene.clock.now() - begun;
  // A file costs something beside its bytes.
  const leastMs = ((report.bytes + report.blobs * 32 * 1024) * 1000) / 500_000;
  assert.ok(tookMs >= leastMs - 200, `${report.bytes} bytes in ${tookMs} ms`);
  for (const { at } of read) {
    const within = read.filter((one) => one.at >= at && one.at < at + 1000).reduce((sum, one) => sum + one.bytes, 0);
    assert.ok(within <= 500_000 + 2 * 65_536, `${within} bytes within a second`);
  }
});

test("what leaves while it is being read is nobody's loss", async () => {
  await using scene = await openTruthScene();
  const [left] = await putMany(scene, 1);
  assert.ok(left !== undefined);
  const verifier = {
    look: async (...asked: Parameters<Verifier["look"]>) => {
      const finding = await scene.verifier.look(...asked);
      scene.inventory.dropBlob(left);
      await scene.store.remove(left);
      return finding;
    },
  };
  const report = await new Scrub({ ...scene, verifier }).run(UNLIMITED);
  assert.deepEqual([report.blobs, report.missing, report.damaged, report.adopted], [0, 0, 0, 0]);
  assert.equal(scene.inventory.blobs, 0);
});

/** As it is found again in each of its places while a verdict about the old file is on its way. */
async function storeAnew(scene: TruthScene, app: Place, bytes: Buffer): Promise<void> {
  const repositories = new Repositories(scene.database);
  const digest = await scene.put(bytes);
  scene.inventory.addManifest(digest, OCI_MANIFEST, { children: [], subject: undefined });
  new Tags(scene.database, repositories).put(app, parseTag("1"), digest, 1);
  new Graph(scene.database, repositories).link(app, [{ digest, sizeBytes: bytes.length, confirmed: true }]);
}

for (const what of ["rotten", "a directory"]) {
  test(`a file that was ${what} when it was read costs the good one that took its place nothing`, async () => {
    await using scene = await openTruthScene();
    const app = place("docker.io", "team/app");
    const bytes = seededBytes(3_000_000, 1);
    const digest = await scene.put(bytes);
    const path = scene.store.pathOf(digest);
    if (what === "rotten") await flip(path);
    else {
      await lose(path);
      await mkdir(path);
    }
    const readers: Awaited<ReturnType<typeof scene.store.open>>[] = [];
    const verifier = {
      look: async (...asked: Parameters<Verifier["look"]>) => {
        const finding = await scene.verifier.look(...asked);
        await rename(path, join(scene.root, "old"));
        scene.inventory.dropBlob(digest);
        await storeAnew(scene, app, bytes);
        readers.push(await scene.store.open(digest, bytes.length));
        return finding;
      },
    };
    const report = await new Scrub({ ...scene, verifier }).run(UNLIMITED);
    assert.deepEqual([report.damaged, report.missing, scene.damage.length], [0, 0, 0]);
    assert.deepEqual(scene.forgotten, []);
    assert.equal(scene.inventory.findSize(digest), bytes.length);
    assert.equal(scene.inventory.findMediaType(digest), OCI_MANIFEST);
    const repositories = new Repositories(scene.database);
    assert.equal(new Tags(scene.database, repositories).find(app, parseTag("1"))?.digest, digest);
    assert.notEqual(new Graph(scene.database, repositories).findReachable(app, digest), undefined);
    assert.equal(readers[0]?.failure(), undefined);
    readers[0]?.close();
    assert.equal((await stat(path)).size, bytes.length);
  });
}

test("a stop in the middle of a file leaves no thread and no descriptor", async () => {
  const descriptors = async () => (await readdir("/proc/self/fd")).length;
  await using scene = await openTruthScene();
  await putMany(scene, 2, 3_000_000);
  const open = await descriptors();
  const stopping = new AbortController();
  const running = scene.newScrub().run({ bandwidth: 64 * 1024, signal: stopping.signal });
  const failing = assert.rejects(running, /stopped/);
  for (let tries = 0; (await threads()) === 0 && tries < 500; tries += 1) await scene.clock.advance(100);
  stopping.abort(new Error("stopped"));
  await failing;
  assert.equal(await threads(), 1);
  await scene.verifier.stop();
  assert.equal(await threads(), 0);
  assert.equal(await descriptors(), open);
  await assert.rejects(scene.newScrub().run(UNLIMITED), /closed/);
});

test("the thread ends by itself when nothing was read for a while, and another begins when it is needed", async () => {
  await using scene = await openTruthScene();
  const [digest] = await putMany(scene, 1);
  assert.ok(digest !== undefined);
  await scene.newScrub().run(UNLIMITED);
  assert.equal(await threads(), 1);
  await scene.clock.advance(60_000);
  for (let tries = 0; (await threads()) > 0 && tries < 100; tries += 1)
    await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(await threads(), 0);
  assert.equal((await scene.newScrub().run(UNLIMITED)).blobs, 1);
});
