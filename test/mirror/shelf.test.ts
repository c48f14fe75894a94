/** Manifests are verified, stored and linked in this order, and looked at again whenever they come from disk. */
import assert from "node:assert/strict";
import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { Shelf } from "../../src/mirror/shelf.ts";
import { digestOf, hexOf } from "../../src/oci/digest.ts";
import { OCI_INDEX, OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import type { BlobStore } from "../../src/store/blobstore.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { ManualClock } from "../kit/clock.ts";
import { filesUnder } from "../kit/residue.ts";
import { digest, place, type Rooms, withRooms } from "../meta/rooms.ts";
import { recorded } from "./parts.ts";

const app = place("docker.io", "team/app");
const MANIFEST = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: OCI_MANIFEST,
    config: { digest: digest("config"), size: 6 },
    layers: [{ digest: digest("layer"), size: 5 }],
    subject: { digest: digest("subject"), size: 7 },
  }),
);
const DIGEST = digestOf(MANIFEST);
const SERVED = { bytes: MANIFEST, mediaType: OCI_MANIFEST, digest: DIGEST };

interface Scene extends Rooms {
  readonly store: DiskStore;
  readonly directory: string;
  readonly troubles: readonly { readonly message: string }[];
  readonly mismatches: readonly { readonly expected: string; readonly found: string }[];
  /** A shelf with an empty memory, over the same store and index. */
  shelf(store?: BlobStore): Shelf;
}

async function withScene(work: (scene: Scene) => Promise<void>): Promise<void> {
  await withRooms(async (rooms, directory) => {
    const store = await DiskStore.open(directory);
    const { notices, facts: troubles } = recorded("storageTrouble");
    const mismatches: { expected: string; found: string }[] = [];
    notices.on("digestMismatch", (fact) => mismatches.push(fact));
    const { inventory, graph } = rooms;
    const clock = new ManualClock();
    const limits = { maxBytes: undefined, minFreeBytes: 0 };
    const capacity = new Capacity({ store, inventory, limits, clock, notices });
    const shelf = (used: BlobStore = store) => new Shelf({ store: used, capacity, inventory, graph, clock, notices });
    await work({ ...rooms, store, directory, troubles, mismatches, shelf });
  });
}

test("a manifest that is kept is found, in memory, in the store, and after a restart", () =>
  withScene(async ({ shelf, store, inventory }) => {
    const first = shelf();
    assert.equal(await first.find(DIGEST), undefined);
    const { manifest, kept } = await first.keep(app, SERVED, DIGEST);
    assert.equal(kept, true);
    assert.deepEqual(manifest, { digest: DIGEST, mediaType: OCI_MANIFEST, bytes: MANIFEST });
    assert.equal(first.peek(DIGEST), manifest);
    assert.deepEqual(await store.read(DIGEST, 10_000), MANIFEST);
    assert.equal(inventory.findSize(DIGEST), MANIFEST.length);
    const second = shelf();
    assert.equal(second.peek(DIGEST), undefined);
    assert.deepEqual(await second.find(DIGEST), manifest);
    assert.notEqual(second.peek(DIGEST), undefined);
  }));

test("keeping a manifest permits what it names, in its repository, and never its subject", () =>
  withScene(async ({ shelf, graph }) => {
    await shelf().keep(app, SERVED, DIGEST);
    for (const name of [DIGEST, digest("config"), digest("layer")]) assert.ok(graph.findReachable(app, name));
    assert.equal(graph.findReachable(app, digest("layer"))?.sizeBytes, 5);
    assert.equal(graph.findReachable(app, digest("subject")), undefined);
    assert.equal(graph.findReachable(place("docker.io", "team/other"), DIGEST), undefined);
    assert.equal(graph.findReachable(place("ghcr.io", "team/app"), DIGEST), undefined);
  }));

test("a manifest of another digest than was asked for is refused and told, and nothing is kept", () =>
  withScene(async ({ shelf, graph, mismatches, directory, inventory }) => {
    const asked = digest("what was asked for");
    const tried = shelf();
    for (const [served, expected] of [
      [SERVED, asked],
      [{ ...SERVED, digest: asked }, undefined],
      [{ ...SERVED, digest: undefined }, digestOf(MANIFEST.subarray(1), "sha512")],
    ] as const) {
      await assert.rejects(tried.keep(app, served, expected), (error) => isFailure(error, "corrupt"));
    }
    assert.equal(mismatches.length, 3);
    assert.deepEqual(mismatches[0], { upstream: "docker.io", expected: asked, found: DIGEST });
    assert.equal(graph.findReachable(app, DIGEST), undefined);
    assert.equal(inventory.blobs, 0);
    assert.equal(tried.peek(DIGEST), undefined);
    assert.deepEqual(await filesUnder(join(directory, "blobs")), []);
  }));

test("what was asked for outweighs what the upstream says of it", () =>
  withScene(async ({ shelf }) => {
    const { manifest } = await shelf().keep(app, { ...SERVED, digest: digest("a lie") }, DIGEST);
    assert.equal(manifest.digest, DIGEST);
  }));

test("a manifest served with no digest at all gets that of its bytes", () =>
  withScene(async ({ shelf }) => {
    const { manifest } = await shelf().keep(app, { bytes: MANIFEST, mediaType: undefined }, undefined);
    assert.deepEqual([manifest.digest, manifest.mediaType], [DIGEST, OCI_MANIFEST]);
    const long = digestOf(MANIFEST, "sha512");
    assert.equal((await shelf().keep(app, { ...SERVED, digest: long }, undefined)).manifest.digest, long);
  }));

test("a document that is no manifest, or served as another type, is refused and not kept", () =>
  withScene(async ({ shelf, directory }) => {
    const bytes = Buffer.from("<html>");
    await assert.rejects(shelf().keep(app, { bytes, mediaType: "text/html" }, digestOf(bytes)), (error) =>
      isFailure(error, "corrupt"),
    );
    await assert.rejects(shelf().keep(app, { ...SERVED, mediaType: OCI_INDEX }, DIGEST), (error) =>
      isFailure(error, "corrupt"),
    );
    assert.deepEqual(await filesUnder(join(directory, "blobs")), []);
  }));

test("a manifest that has rotted on disk is dropped and reported, not served, and can be kept again", () =>
  withScene(async ({ shelf, directory, troubles, inventory, store }) => {
    await shelf().keep(app, SERVED, DIGEST);
    const path = join(directory, "blobs", "sha256", hexOf(DIGEST).slice(0, 2), hexOf(DIGEST));
    const rotten = Buffer.from(MANIFEST);
    rotten.writeUInt8(rotten.readUInt8(20) ^ 1, 20);
    await chmod(path, 0o600);
    await writeFile(path, rotten);
    const later = shelf();
    assert.equal(await later.find(DIGEST), undefined);
    assert.equal(troubles.length, 1);
    assert.match(troubles[0]?.message ?? "", /no longer matches its digest/);
    assert.equal(inventory.findSize(DIGEST), undefined);
    assert.equal(await store.open(DIGEST), undefined);
    assert.equal((await later.keep(app, SERVED, DIGEST)).kept, true);
    assert.deepEqual((await shelf().find(DIGEST))?.bytes, MANIFEST);
  }));

test("a manifest whose file is lost is dropped and reported, once", () =>
  withScene(async ({ shelf, troubles, inventory, store }) => {
    await shelf().keep(app, SERVED, DIGEST);
    await store.remove(DIGEST);
    const later = shelf();
    assert.equal(await later.find(DIGEST), undefined);
    assert.equal(await later.find(DIGEST), undefined);
    assert.equal(inventory.blobs, 0);
    assert.match(troubles[0]?.message ?? "", /lost its file/);
    assert.equal(troubles.length, 1);
  }));

test("a blob that is stored and was never kept as a manifest is not found as one", () =>
  withScene(async ({ shelf, store, inventory }) => {
    const ingest = await store.ingest(DIGEST);
    ingest.write(MANIFEST);
    await (await ingest.finish()).stored;
    ingest.close();
    inventory.addBlob(DIGEST, MANIFEST.length, "docker.io", 1);
    assert.equal(await shelf().find(DIGEST), undefined);
    assert.equal((await shelf().keep(app, SERVED, DIGEST)).kept, true);
    assert.deepEqual((await shelf().find(DIGEST))?.bytes, MANIFEST);
  }));

test("a manifest that the disk will not take is handed over all the same, and reported", () =>
  withScene(async ({ shelf, store, troubles, inventory, directory }) => {
    const broken: BlobStore = {
      partials: () => store.partials(),
      removePartial: (file) => store.removePartial(file),
      has: (digest) => store.has(digest),
      open: (digest) => store.open(digest),
      read: (digest, limit) => store.read(digest, limit),
      remove: (digest) => store.remove(digest),
      freeBytes: () => store.freeBytes(),
      ingest: () => Promise.reject(new Error("no space left")),
    };
    const { manifest, kept } = await shelf(broken).keep(app, SERVED, DIGEST);
    assert.equal(kept, false);
    assert.deepEqual(manifest.bytes, MANIFEST);
    assert.equal(troubles.length, 1);
    assert.equal(inventory.blobs, 0);
    assert.deepEqual(await filesUnder(join(directory, "blobs")), []);
  }));

test("a stored manifest opens what it names to another repository that has it too", () =>
  withScene(async ({ shelf, graph }) => {
    const used = shelf();
    const { manifest } = await used.keep(app, SERVED, DIGEST);
    const other = place("docker.io", "team/other");
    used.link(other, manifest, true);
    used.link(other, manifest, true);
    for (const name of [DIGEST, digest("config"), digest("layer")]) assert.ok(graph.findReachable(other, name));
  }));

test("a database in trouble keeps nobody from a manifest that is already here", () =>
  withScene(async ({ shelf, database, troubles }) => {
    const used = shelf();
    const { manifest } = await used.keep(app, SERVED, DIGEST);
    database.close();
    used.link(place("docker.io", "team/other"), manifest, true);
    assert.equal(troubles.length, 1);
  }));

test("what is forgotten is linked anew when it comes again", () =>
  withScene(async ({ shelf, graph, database }) => {
    const shelved = shelf();
    const { manifest } = await shelved.keep(app, SERVED, DIGEST);
    database.exec("DELETE FROM reachable");
    shelved.link(app, manifest, true);
    assert.equal(graph.findReachable(app, digest("layer")), undefined, "it is remembered as linked");
    shelved.forget(DIGEST);
    assert.equal(shelved.peek(DIGEST), undefined);
    shelved.link(app, manifest, true);
    assert.ok(graph.findReachable(app, digest("layer")));
  }));

test("what is stored already is kept in a full store too, and what is not is served and not kept", () =>
  withScene(async ({ store, inventory, graph }) => {
    const { notices } = recorded("storageTrouble");
    const clock = new ManualClock();
    const capacityOf = (maxBytes: number) =>
      new Capacity({ store, inventory, limits: { maxBytes, minFreeBytes: 0 }, clock, notices });
    const shelfOf = (maxBytes: number) =>
      new Shelf({ store, capacity: capacityOf(maxBytes), inventory, graph, clock, notices });
    assert.equal((await shelfOf(10).keep(app, SERVED, DIGEST)).kept, false);
    assert.equal((await shelfOf(MANIFEST.length).keep(app, SERVED, DIGEST)).kept, true);
    assert.equal((await shelfOf(10).keep(place("docker.io", "team/other"), SERVED, DIGEST)).kept, true);
    assert.ok(graph.findReachable(place("docker.io", "team/other"), DIGEST));
  }));

test("a signature that its tag says the subject of leaves with that", () =>
  withScene(async ({ shelf, inventory, database }) => {
    const shelved = shelf();
    const { manifest } = await shelved.keep(app, SERVED, DIGEST);
    shelved.attach(manifest, digest("image"));
    const parents = () => database.prepare("SELECT parents FROM blobs WHERE digest = ?").get(DIGEST)?.["parents"];
    assert.equal(parents(), 0, "its subject is not stored");
    inventory.addBlob(digest("image"), 1, "docker.io", 0);
    shelved.attach(manifest, digest("image"));
    assert.equal(parents(), 1);
  }));

test("whatever ends the keeping of a manifest, what is stored of it is known to be one, with what it names", () =>
  withScene(async ({ shelf, inventory, database }) => {
    database.exec(
      `CREATE TEMP TRIGGER broken BEFORE INSERT ON main.blobs BEGIN SELECT RAISE(ABORT, 'it ends here'); END`,
    );
    assert.equal((await shelf().keep(app, SERVED, DIGEST)).kept, false);
    database.exec("DROP TRIGGER broken");
    // As whoever finds its file does.
    inventory.addBlob(DIGEST, MANIFEST.length, "", 0);
    inventory.addBlob(digest("layer"), 1, "docker.io", 0);
    assert.deepEqual((await shelf().find(DIGEST))?.bytes, MANIFEST);
    assert.equal(database.prepare("SELECT parents FROM blobs WHERE digest = ?").get(digest("layer"))?.["parents"], 1);
  }));
