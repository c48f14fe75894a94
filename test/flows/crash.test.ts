/**
 * What becomes of fills when the mirror ends under them, be it stopped, killed or without power: nothing wrong is ever
 * served, and what was fetched is not fetched again.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { open as openFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { VirtualContent } from "../kit/content.ts";
import { getHashed } from "../kit/http.ts";
import { LosableFiles } from "../kit/losable-files.ts";
import { TestMirror, type TestMirrorOptions } from "../kit/mirror.ts";
import { filesUnder, openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { programEnvironment } from "../kit/workers.ts";

const MIB = 1024 * 1024;
const SIZE = 8 * MIB + 321;
/** Less than a quarter is not fetched by itself after a start. */
const LARGE = 100 * MIB;

/** Digests of stored files whose bytes are not what their names say. */
async function wrongFiles(dir: string): Promise<string[]> {
  const root = join(dir, "v1", "blobs");
  const wrong: string[] = [];
  for (const name of await filesUnder(root)) {
    const hex = createHash("sha256")
      .update(await readFile(join(root, name)))
      .digest("hex");
    if (!name.endsWith(hex)) wrong.push(name);
  }
  return wrong;
}

/** A mirror whose life ends in the middle of a blob, and its upstream. The gate is open again. */
async function interrupted(content: VirtualContent, atByte: number, options: Partial<TestMirrorOptions> = {}) {
  const upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  const dir = await makeTempDir("crash");
  const open = (more: Partial<TestMirrorOptions> = {}) =>
    TestMirror.start({ upstreams: { "docker.io": upstream }, dir: dir.path, ...options, ...more });
  const path = `/v2/demo/blobs/${content.digest}`;
  const first = await open();
  const gate = upstream.gate({ kind: "blob", method: "GET" }, atByte, 1);
  const pull = getHashed(first.url + path);
  await gate.reached;
  await first.until(
    async () => ((await first.keptBytes()).get(content.digest.slice(7)) ?? 0) > atByte - MIB,
    "no bytes",
  );
  await first.mirror.stop();
  gate.release();
  assert.equal((await pull).complete, false);
  upstream.forgetRequests();
  return {
    upstream,
    dir: dir.path,
    path,
    open,
    file: async () => join(dir.path, "v1", "partial", (await first.partials())[0] ?? ""),
    brought: () =>
      upstream.matching({ kind: "blob", method: "GET" }).reduce((sum, { bodyBytes }) => sum + bodyBytes, 0),
    [Symbol.asyncDispose]: async () => {
      await upstream.close();
      await dir[Symbol.asyncDispose]();
    },
  };
}

test("what was fetched before a stop is not fetched again, and shown at once to whoever asks", async () => {
  const baseline = openResources();
  {
    const content = new VirtualContent(SIZE, 401);
    await using made = await interrupted(content, 4 * MIB);
    await using mirror = await made.open();
    const answers = await Promise.all(Array.from({ length: 5 }, () => getHashed(mirror.url + made.path)));
    for (const answer of answers) assert.equal(answer.digest, content.digest);
    const [asked, ...more] = made.upstream.matching({ kind: "blob", method: "GET" });
    assert.equal(more.length, 0);
    assert.ok(Number(/^bytes=(\d+)-/.exec(asked?.headers.range ?? "")?.[1]) > 3 * MIB);
    assert.ok(made.brought() < SIZE - 3 * MIB);
    await mirror.settled();
    assert.deepEqual([await mirror.partials(), await mirror.stored()], [[], [content.digest.slice(7)]]);
    assert.equal((await getHashed(mirror.url + made.path)).headers["cache-status"], "wharfinger; hit");
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("what is nearly there is fetched to its end behind a start, with nobody asking; what is not waits", async () => {
  for (const [content, atByte, isFetched] of [
    [new VirtualContent(SIZE, 402), 4 * MIB, true],
    [new VirtualContent(LARGE, 403), 2 * MIB, false],
  ] as const) {
    await using made = await interrupted(content, atByte);
    await using mirror = await made.open();
    if (isFetched) {
      await mirror.until(async () => (await mirror.stored()).length === 1, "it was not fetched", 15_000);
      assert.ok(made.brought() < SIZE - 3 * MIB);
    } else {
      await new Promise((resolve) => setTimeout(resolve, 1500));
      assert.equal(made.upstream.requests.length, 0);
      assert.equal((await mirror.partials()).length, 1);
    }
  }
});

test("what an upstream will not go on with is fetched anew, and nobody gets a wrong byte", async () => {
  const lies = [
    ["sends all of it", { ignoreRange: true }],
    ["has no such range", { status: 416 }],
  ] as const;
  for (const [what, fault] of lies) {
    const content = new VirtualContent(SIZE, 404);
    await using made = await interrupted(content, 4 * MIB);
    made.upstream.fault({ kind: "blob", ranged: true }, fault);
    await using mirror = await made.open();
    const answer = await getHashed(mirror.url + made.path);
    assert.equal(answer.digest, content.digest, what);
    assert.ok(made.brought() >= SIZE, what);
    await mirror.settled();
    assert.deepEqual([await mirror.partials(), await wrongFiles(made.dir)], [[], []]);
  }
});

test("kept bytes that have rotted end their readers short, say nothing of the upstream, and are fetched anew", async () => {
  const content = new VirtualContent(SIZE, 405);
  await using made = await interrupted(content, 4 * MIB);
  const file = await openFile(await made.file(), "r+");
  await file.write(Buffer.from("rot"), 0, 3, MIB);
  await file.close();
  await using mirror = await made.open();
  const mismatches: unknown[] = [];
  mirror.mirror.notices.on("digestMismatch", (fact) => mismatches.push(fact));
  const answer = await getHashed(mirror.url + made.path);
  assert.equal(answer.complete, false);
  assert.equal((await getHashed(mirror.url + made.path)).digest, content.digest);
  await mirror.settled();
  assert.deepEqual([mismatches, await mirror.partials(), await wrongFiles(made.dir)], [[], [], []]);
  assert.ok(made.upstream.count({ kind: "blob", ranged: false }) >= 1);
});

test("what is kept stays while its upstream is away, or nobody is asked, and goes with its upstream", async () => {
  const content = new VirtualContent(SIZE, 406);
  await using made = await interrupted(content, 4 * MIB);
  const lift = made.upstream.fault({}, { dropConnection: true });
  {
    await using mirror = await made.open();
    const answer = await getHashed(mirror.url + made.path);
    assert.equal(answer.complete && answer.status === 200, false);
    await mirror.settled();
    assert.equal((await mirror.partials()).length, 1);
  }
  lift();
  made.upstream.forgetRequests();
  {
    await using mirror = await made.open({ config: { offline: true } });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.equal((await mirror.partials()).length, 1);
    assert.equal(made.upstream.requests.length, 0);
  }
  await using mirror = await made.open({ upstreams: { "ghcr.io": made.upstream } });
  await mirror.until(async () => (await mirror.partials()).length === 0, "it is still kept");
  assert.equal(made.upstream.requests.length, 0);
});

test("no more is kept than a quarter of what may be stored", async () => {
  const content = new VirtualContent(SIZE, 407);
  await using made = await interrupted(content, 4 * MIB);
  await using mirror = await made.open({ config: { cache: { maxSize: 12 * MIB } } });
  await mirror.until(async () => (await mirror.partials()).length === 0, "it is still kept");
});

for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
  test(`without power, at a random moment under load (${seed}), nothing wrong is served or stored`, async () => {
    let state = seed * 7919;
    const random = () => {
      state = (state * 1103515245 + 12345) % 2 ** 31;
      return state / 2 ** 31;
    };
    const contents = Array.from({ length: 6 }, (_, at) => new VirtualContent(2 * MIB + at * 300_000, seed * 100 + at));
    await using upstream = await TestUpstream.start();
    for (const content of contents) upstream.shelves.addBlob("library/demo", content);
    const slow = upstream.fault({ kind: "blob" }, { bytesPerSecond: 8 * MIB });
    await using dir = await makeTempDir("crash");
    {
      const files = new LosableFiles();
      // In this process: its disk is a test's.
      await using mirror = await TestMirror.start({
        upstreams: { "docker.io": upstream },
        files,
        config: { workers: 1 },
      });
      const pulls = contents.map((content) => getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`));
      await mirror.until(async () => (await mirror.stored()).length >= seed % contents.length, "too few are stored");
      await new Promise((resolve) => setTimeout(resolve, random() * 30));
      files.cut(join(mirror.dir, "v1"), join(dir.path, "v1"), random);
      await mirror.mirror.stop();
      await Promise.all(pulls);
    }
    // The machine has started anew.
    const index = new DatabaseSync(join(dir.path, "v1", "index.sqlite"));
    if (index.prepare("SELECT 1 FROM sqlite_master WHERE name = 'partials'").get() !== undefined) {
      index.exec("UPDATE partials SET boot = 'another'");
    }
    index.close();
    slow();
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: dir.path });
    for (const content of contents) {
      const answer = await getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
      assert.equal(answer.digest, content.digest);
    }
    await mirror.settled();
    assert.deepEqual([await mirror.partials(), await wrongFiles(dir.path)], [[], []]);
    assert.equal((await mirror.stored()).length, contents.length);
  });
}

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** The program, listening. */
async function serve(dir: string, upstreamUrl: string): Promise<{ child: ChildProcess; url: string }> {
  const file = join(dir, "config.yaml");
  const config = {
    ...{ listen: "127.0.0.1:0", admin: { listen: "127.0.0.1:0" } },
    cache: { dir: join(dir, "cache"), minFree: 0 },
    upstreams: { "docker.io": { url: upstreamUrl, allowPrivate: true } },
  };
  await writeFile(file, JSON.stringify(config));
  const child = spawn(process.execPath, [MAIN, "serve", "--config", file], {
    env: programEnvironment(),
    stdio: ["ignore", "ignore", "pipe"],
  });
  let said = "";
  child.stderr?.on("data", (chunk) => {
    said += chunk;
  });
  const until = performance.now() + 20_000;
  for (;;) {
    const url = /serves (http:\/\/\S+)/.exec(said)?.[1];
    if (url !== undefined) return { child, url };
    if (child.exitCode !== null || performance.now() > until) {
      child.kill("SIGKILL");
      throw new Error(`it did not start: ${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("killed again and again under load, it never serves a wrong byte, and goes on with what it had", async () => {
  const contents = Array.from({ length: 4 }, (_, at) => new VirtualContent(12 * MIB + at, 500 + at));
  await using upstream = await TestUpstream.start();
  for (const content of contents) upstream.shelves.addBlob("library/demo", content);
  const slow = upstream.fault({ kind: "blob" }, { bytesPerSecond: 6 * MIB });
  await using dir = await makeTempDir("crash");
  const pull = async (url: string) => {
    const answers = await Promise.all(
      contents.flatMap(({ digest }) => [digest, digest]).map((digest) => getHashed(`${url}/v2/demo/blobs/${digest}`)),
    );
    for (const [at, answer] of answers.entries()) {
      const isWhole = answer.complete && answer.status === 200;
      if (isWhole) assert.equal(answer.digest, contents[Math.floor(at / 2)]?.digest);
    }
    return answers;
  };
  for (const afterMs of [700, 1000, 500]) {
    const { child, url } = await serve(dir.path, upstream.url);
    const pulls = pull(url);
    await new Promise((resolve) => setTimeout(resolve, afterMs));
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await Promise.all([ended, pulls]);
  }
  slow();
  const { child, url } = await serve(dir.path, upstream.url);
  for (const answer of await pull(url)) assert.ok(answer.complete);
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  await ended;
  assert.deepEqual(await wrongFiles(join(dir.path, "cache")), []);
  const asked = upstream.matching({ kind: "blob", method: "GET" });
  const goneOn = asked.filter(({ headers }) => Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1]) >= MIB);
  assert.ok(goneOn.length >= contents.length, `${goneOn.length} of ${asked.length} requests went on`);
});
