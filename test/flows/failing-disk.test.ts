/**
 * A disk that fails is never in the way of a pull: what was begun is brought to its end, what cannot be stored is passed,
 * and whoever runs the mirror is told once.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, open as openFile, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import test from "node:test";
import { VirtualContent } from "../kit/content.ts";
import { Gate } from "../kit/faults.ts";
import { type Errno, type FaultyCall, FaultyFiles } from "../kit/faulty-files.ts";
import { get, getHashed, open } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;

interface Scene {
  readonly upstream: TestUpstream;
  readonly mirror: TestMirror;
  readonly files: FaultyFiles;
  readonly warnings: string[];
  /** Puts a blob there, and tells its address. */
  add(sizeBytes: number, seed: number): { readonly url: string; readonly content: VirtualContent };
}

async function withScene(run: (scene: Scene) => Promise<void>): Promise<void> {
  await using upstream = await TestUpstream.start();
  const files = new FaultyFiles();
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, files });
  const warnings: string[] = [];
  mirror.mirror.notices.on("storageDegraded", ({ errno }) => warnings.push(errno));
  await run({
    ...{ upstream, mirror, files, warnings },
    add(sizeBytes, seed) {
      const content = new VirtualContent(sizeBytes, seed);
      upstream.shelves.addBlob("library/demo", content);
      return { url: `${mirror.url}/v2/library/demo/blobs/${content.digest}`, content };
    },
  });
}

function pathOf({ dir }: TestMirror, digest: string): string {
  const hex = digest.slice("sha256:".length);
  return join(dir, "v1", "blobs", "sha256", hex.slice(0, 2), hex);
}

/** Resolves when so much of the running fill is in its file. */
async function written(mirror: TestMirror, sizeBytes: number): Promise<void> {
  const directory = join(mirror.dir, "v1", "partial");
  await mirror.until(async () => {
    const sizes = (await mirror.partials()).map(async (name) => (await stat(join(directory, name))).size);
    return (await Promise.all(sizes)).some((size) => size >= sizeBytes);
  }, "nothing is written");
}

async function readiness({ adminUrl }: TestMirror): Promise<Record<string, unknown>> {
  const { status, body } = await get(`${adminUrl}/readyz`);
  assert.equal(status, 200, "it serves");
  return JSON.parse(body.toString()) as Record<string, unknown>;
}

const CALLS: readonly (readonly [call: FaultyCall, skip: number, errnos: readonly Errno[]])[] = [
  ["open", 0, ["ENOSPC", "EMFILE"]],
  ["threadWrite", 0, ["EROFS"]],
  ["threadWrite", 3, ["ENOSPC"]],
  ["fdatasync", 0, ["EIO"]],
  ["fchmod", 0, ["EROFS"]],
  ["mkdir", 0, ["ENOSPC"]],
  ["rename", 0, ["EIO"]],
  ["fsync", 0, ["EMFILE"]],
  ["freeBytes", 0, ["EIO"]],
];

for (const [call, skip, errnos] of CALLS) {
  test(`a pull goes on whatever becomes of ${call}, after ${skip} that went well`, async () => {
    for (const errno of errnos) {
      await withScene(async ({ mirror, files, warnings, upstream, add }) => {
        const before = add(MIB, 1);
        const { url, content } = add(6 * MIB, 2);
        files.fail({ call, errno, skip });
        const answer = await getHashed(url);
        assert.ok(answer.complete, `${errno}: ${answer.error}`);
        assert.equal(answer.digest, content.digest, errno);
        await mirror.until(() => warnings.length === 1, `${errno}: nobody was told`);
        assert.equal((await getHashed(before.url)).digest, before.content.digest);
        assert.deepEqual(warnings, [errno]);
        const told = await readiness(mirror);
        assert.equal(told["status"], "degraded");
        assert.match(String(told["reason"]), /nothing new is stored/);
        const { body } = await get(`${mirror.adminUrl}/metrics`);
        assert.match(body.toString(), new RegExp(`storage_errors_total{errno="${errno}"} [1-9]`));
        assert.match(body.toString(), /wharfinger_storage_degraded 1/);
        assert.ok(upstream.requests.filter(({ kind, method }) => kind === "blob" && method === "GET").length <= 5);
        files.heal();
        await mirror.settled();
      });
    }
  });
}

test("after the disk was probed things are stored again, and then it is told to be over", () =>
  withScene(async ({ mirror, files, warnings, add }) => {
    const healed: number[] = [];
    mirror.mirror.notices.on("storageHealed", ({ failures }) => healed.push(failures));
    // What the probe itself can mend is probed soon.
    files.fail({ call: "open", errno: "ENOENT", path: "sha256-", times: 1 });
    const [first, second] = [add(MIB, 3), add(MIB, 4)];
    const bypassed = await getHashed(first.url);
    assert.equal(bypassed.digest, first.content.digest);
    assert.equal(bypassed.headers["cache-status"], "wharfinger; fwd=bypass; detail=storage");
    await mirror.until(async () => {
      const { headers } = await getHashed(second.url);
      return headers["cache-status"] === "wharfinger; hit";
    }, "nothing is stored any more");
    await mirror.until(() => healed.length === 1, "nobody was told that it is over");
    assert.equal((await readiness(mirror))["status"], "ready");
    assert.deepEqual([warnings, healed], [["ENOENT"], [1]]);
  }));

test("a cache directory that was removed under us is made again", () =>
  withScene(async ({ mirror, add }) => {
    const [first, second] = [add(MIB, 6), add(MIB, 7)];
    await getHashed(first.url);
    await mirror.settled();
    for (const name of ["partial", "blobs"]) await rm(join(mirror.dir, "v1", name), { recursive: true });
    const answer = await getHashed(second.url);
    assert.ok(answer.complete);
    assert.equal(answer.digest, second.content.digest);
    assert.equal((await getHashed(first.url)).digest, first.content.digest);
    await mirror.until(async () => {
      await getHashed(first.url);
      return (await mirror.stored()).length > 0;
    }, "it was not made again");
  }));

/** Clients that follow one fill, whose disk fails in the middle. */
for (const readable of [true, false]) {
  test(`everybody who follows a fill whose disk fails gets the rest, ${readable ? "" : "not "}with its file at hand`, () =>
    withScene(async ({ upstream, mirror, files, warnings, add }) => {
      const { url, content } = add(24 * MIB, readable ? 8 : 9);
      const gate = new Gate(8 * MIB);
      upstream.fault({ kind: "blob", ranged: false }, { gate });
      const rescued: number[] = [];
      mirror.mirror.notices.on("answerRescued", ({ atByte }) => rescued.push(atByte));
      let followers = 0;
      mirror.mirror.notices.on("followerOpened", () => {
        followers += 1;
      });
      const had = new Map<number, number>();
      const client = (number: number) => getHashed(url, { onBytes: (bytes) => had.set(number, bytes) });
      const clients = Array.from({ length: 6 }, (_, number) => client(number));
      await gate.reached;
      const late = client(6);
      const slice = get(url, { headers: { Range: `bytes=${7 * MIB}-${12 * MIB - 1}` } });
      const tail = get(url, { headers: { Range: `bytes=${6 * MIB}-` } });
      await written(mirror, 7 * MIB);
      await mirror.until(() => followers >= 9, "not everybody follows");
      // All of them have read what there is: the file is only missed by who hashes it.
      await mirror.until(
        () => had.size === 7 && Math.min(...had.values()) >= 7 * MIB,
        "not everybody has what there is",
      );
      // What was written so far is no longer what it was: nobody must trust it.
      if (!readable)
        for (const name of await mirror.partials()) await truncate(join(mirror.dir, "v1", "partial", name), 0);
      files.fail({ call: "threadWrite", errno: "ENOSPC" });
      gate.release();
      for (const answer of await Promise.all([...clients, late])) {
        assert.ok(answer.complete, String(answer.error));
        assert.equal(answer.digest, content.digest);
      }
      const whole = Buffer.concat([...content.read(0, content.sizeBytes)]);
      assert.deepEqual((await slice).body, whole.subarray(7 * MIB, 12 * MIB));
      assert.deepEqual((await tail).body, whole.subarray(6 * MIB));
      assert.equal(rescued.length, 9);
      assert.deepEqual(warnings, ["ENOSPC"]);
      const asked = upstream.requests.filter(({ kind, method }) => kind === "blob" && method === "GET");
      assert.ok(asked.length <= 9, `the upstream was asked ${asked.length} times`);
      files.heal();
      await mirror.settled();
    }));
}

test("a follower is not rescued from wrong bytes: its body ends short", () =>
  withScene(async ({ upstream, mirror, files, add }) => {
    const { url, content } = add(16 * MIB, 10);
    const gate = new Gate(8 * MIB);
    upstream.fault({ kind: "blob", ranged: false }, { gate });
    // The rest is not what the digest says.
    upstream.fault({ kind: "blob", ranged: true }, { flipAtByte: 12 * MIB });
    const client = getHashed(url);
    await gate.reached;
    await written(mirror, 7 * MIB);
    files.fail({ call: "threadWrite", errno: "EIO" });
    gate.release();
    const answer = await client;
    assert.equal(answer.complete, false);
    assert.ok(answer.sizeBytes <= content.sizeBytes - 64 * 1024);
  }));

/** A client that has read the beginning of a stored blob, and waits. */
async function begun(url: string) {
  const response = await open(url);
  const hash = createHash("sha256");
  let bytes = 0;
  const goOn = async () => {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    return { bytes, digest: `sha256:${hash.digest("hex")}`, complete: response.complete };
  };
  return { response, goOn };
}

test("a stored file that ends early while it is read is replaced: the client gets the rest, and the next one a good file", () =>
  withScene(async ({ upstream, mirror, add }) => {
    const { url, content } = add(48 * MIB, 11);
    await getHashed(url);
    await mirror.settled();
    const path = pathOf(mirror, content.digest);
    const client = await begun(url);
    await truncate(path, 40 * MIB);
    const read = await client.goOn();
    assert.deepEqual(read, { bytes: content.sizeBytes, digest: content.digest, complete: true });
    const again = upstream.requests.filter(({ kind, method }) => kind === "blob" && method === "GET").at(-1);
    assert.match(String(again?.headers.range), /^bytes=\d+-/);
    await mirror.until(async () => (await getHashed(url)).digest === content.digest, "it is not served any more");
    await mirror.until(async () => (await stat(path).catch(() => undefined))?.size === content.sizeBytes, "not healed");
    assert.equal((await getHashed(url)).headers["cache-status"], "wharfinger; hit");
  }));

test("a stored file that is damaged and ends early ends its reader's body short", () =>
  withScene(async ({ mirror, add }) => {
    const { url, content } = add(48 * MIB, 12);
    await getHashed(url);
    await mirror.settled();
    const path = pathOf(mirror, content.digest);
    const file = await openFile(path, "r+");
    await file.write(Buffer.alloc(100, 1), 0, 100, 0);
    await file.close();
    const client = await begun(url);
    await truncate(path, 40 * MIB);
    await assert.rejects(client.goOn());
    assert.equal((await getHashed(url)).digest, content.digest, "it was fetched again");
  }));

test("a stored blob that cannot be opened comes from the upstream", () =>
  withScene(async ({ mirror, add }) => {
    const { url, content } = add(MIB, 13);
    await getHashed(url);
    await mirror.settled();
    const path = pathOf(mirror, content.digest);
    await rm(path);
    await mkdir(path);
    const answer = await getHashed(url);
    assert.deepEqual([answer.status, answer.digest], [200, content.digest]);
    assert.equal(answer.headers["cache-status"], "wharfinger; fwd=bypass; detail=storage");
    const head = await get(url, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers["content-length"]], [200, String(MIB)]);
  }));

test("an index that can be neither read nor written is in nobody's way", async () => {
  const image = makeImage({ seed: 14 });
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const warnings: string[] = [];
  mirror.mirror.notices.on("storageDegraded", ({ errno }) => warnings.push(errno));
  const [layer, other] = image.layers;
  const blob = (digest: string | undefined) => `${mirror.url}/v2/demo/blobs/${digest}`;
  await getHashed(`${mirror.url}/v2/demo/manifests/1`);
  await getHashed(blob(layer?.digest));
  await mirror.settled();
  const { StatementSync } = await import("node:sqlite");
  const { get: read, all, run } = StatementSync.prototype;
  const fail = () => {
    throw Object.assign(new Error("disk I/O error"), { code: "ERR_SQLITE_ERROR", errcode: 10 });
  };
  Object.assign(StatementSync.prototype, { get: fail, all: fail, run: fail });
  try {
    for (let round = 0; round < 3; round += 1) {
      for (const url of [blob(layer?.digest), blob(other?.digest), `${mirror.url}/v2/demo/manifests/1`]) {
        const answer = await getHashed(url);
        assert.deepEqual([answer.status, answer.complete], [200, true], url);
        assert.equal(answer.digest, url.includes("manifests") ? image.digest : url.split("/").at(-1));
      }
      const { status } = await get(`${mirror.url}/v2/demo/manifests/${image.digest}`, { method: "HEAD" });
      assert.equal(status, 200);
    }
    await mirror.until(() => warnings.length > 0, "nobody was told");
    assert.deepEqual(warnings, ["SQLITE_IOERR"]);
  } finally {
    Object.assign(StatementSync.prototype, { get: read, all, run });
  }
  assert.equal((await getHashed(blob(layer?.digest))).headers["cache-status"], "wharfinger; hit");
});
