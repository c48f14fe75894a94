/** The listing over a large index: pages are whole, nothing is held but the page, and others have their turn meanwhile. */
import assert from "node:assert/strict";
import test from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { ImagesAnswer } from "../../src/api/images.ts";
import { imagesOperation } from "../../src/api/images.ts";
import { transaction } from "../../src/meta/database.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Images } from "../../src/meta/images.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { type Rooms, withRooms } from "../meta/rooms.ts";
import { jsonOf, stage } from "./stage.ts";

const IMAGES = 100_000;
const REPOSITORIES = 500;
const TYPE = "application/vnd.oci.image.manifest.v1+json";

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

/** What is reachable, garbage left out. */
function liveBytes(): number {
  collect();
  return process.memoryUsage().heapUsed;
}

/** Manifests without files, each with a tag, or without for every tenth. */
function fill({ database }: Rooms, images: number): void {
  const hex = (at: number) => `sha256:${at.toString(16).padStart(64, "0")}`;
  const put = {
    repository: database.prepare("INSERT INTO repositories (id, upstream, name) VALUES (?, ?, ?)"),
    blob: database.prepare(
      "INSERT INTO blobs (digest, size, upstream, stored_at, last_used, hits) VALUES (?, ?, 'docker.io', ?, ?, ?)",
    ),
    manifest: database.prepare("INSERT INTO manifests (digest, media_type, linked) VALUES (?, ?, 1)"),
    reachable: database.prepare("INSERT INTO reachable (repository, digest, size, confirmed) VALUES (?, ?, 10, 1)"),
    tag: database.prepare("INSERT INTO tags (repository, tag, digest, checked_at) VALUES (?, ?, ?, 1000)"),
  };
  transaction(database, () => {
    for (let at = 0; at < REPOSITORIES; at++) {
      put.repository.run(at + 1, at % 3 === 0 ? "ghcr.io" : "docker.io", `org/app-${at}`);
    }
    for (let at = 0; at < images; at++) {
      const repository = (at % REPOSITORIES) + 1;
      put.blob.run(hex(at), (at * 7919) % 100_003, at + 1, (at * 104_729) % 1_000_003, (at * 31) % 1009);
      put.manifest.run(hex(at), TYPE);
      put.reachable.run(repository, hex(at));
      if (at % 10 !== 0) put.tag.run(repository, `v${at}`, hex(at));
    }
  });
}

function api({ database, repositories, tags }: Rooms) {
  const inventory = new Inventory(database);
  const holdings = new Holdings(database, { inventory, tags, repositories });
  const parts = { images: new Images(database), holdings, inventory, read: async () => undefined, isKnown: () => true };
  const { ask } = stage(imagesOperation(parts));
  return async (query: string): Promise<ImagesAnswer> => {
    const answer = await ask("GET", "/api/v1/images", { query });
    assert.equal(answer.status, 200);
    return (await jsonOf(answer)) as unknown as ImagesAnswer;
  };
}

test("of a hundred thousand images little is held at a time, others have their turn, and the order is right", () =>
  withRooms(async (rooms) => {
    fill(rooms, IMAGES);
    const page = api(rooms);
    let turns = 0;
    let most = 0;
    const before = liveBytes();
    const watching = setInterval(() => {
      turns += 1;
      if (turns % 100 === 0) most = Math.max(most, liveBytes() - before);
    }, 1);
    try {
      const first = await page("sort=used&limit=100");
      assert.equal(first.images.length, 100);
      const used = first.images.map(({ lastUsedAt }) => Date.parse(lastUsedAt));
      assert.deepEqual(
        used,
        used.toSorted((one, other) => other - one),
      );
    } finally {
      clearInterval(watching);
    }
    assert.ok(turns > 20, `${turns} turns`);
    // All rows at once would be some 60 MB.
    assert.ok(most < 16 * 1024 * 1024, `${most} bytes`);
  }));

test("pages by name are each image once, in order", () =>
  withRooms(async (rooms) => {
    fill(rooms, 3000);
    const page = api(rooms);
    const seen: string[] = [];
    let cursor = "";
    do {
      const { images, next } = await page(`limit=333${cursor}`);
      assert.ok(images.length <= 333);
      seen.push(
        ...images.map(
          ({ upstream, repository, tags, digest }) => `${upstream} ${repository} ${tags[0] ?? `~${digest}`}`,
        ),
      );
      cursor = next === null ? "" : `&cursor=${next}`;
    } while (cursor !== "");
    assert.equal(new Set(seen).size, 3000);
    assert.deepEqual(seen, seen.toSorted());
  }));

test("one repository with all the images is paged through, too, and narrowing to another finds nothing quickly", () =>
  withRooms(async (rooms) => {
    fill(rooms, 5000);
    rooms.database.exec("DELETE FROM tags; UPDATE OR IGNORE reachable SET repository = 1");
    rooms.database.exec("INSERT INTO tags SELECT 1, 't' || substr(digest, 60), digest, 1 FROM manifests");
    const page = api(rooms);
    const digests = new Set<string>();
    let cursor = "";
    do {
      const { images, next } = await page(`upstream=ghcr.io&limit=333${cursor}`);
      for (const { digest } of images) digests.add(digest);
      cursor = next === null ? "" : `&cursor=${next}`;
    } while (cursor !== "");
    assert.equal(digests.size, 5000);
    assert.equal((await page("upstream=docker.io")).images.length, 0);
  }));
