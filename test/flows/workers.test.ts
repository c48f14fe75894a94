/**
 * Several processes that answer clients, and what must hold whatever becomes of one of them: one fetch per content, right
 * bytes, nothing left behind.
 */
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readdir, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { VirtualContent } from "../kit/content.ts";
import { get, getHashed, open } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { programEnvironment } from "../kit/workers.ts";

const MIB = 1024 * 1024;
const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

/** Processes whose parent is `pid`. */
function childrenOf(pid: number): number[] {
  const listed = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" });
  return listed.split("\n").flatMap((line) => {
    const [child, parent, ...args] = line.trim().split(/\s+/);
    return Number(parent) === pid && args.join(" ").includes("front.ts") ? [Number(child)] : [];
  });
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(holds: () => Promise<boolean> | boolean, complaint: string): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(complaint);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function counter(mirror: { readonly adminUrl: string }, name: string): Promise<number> {
  const { body } = await get(`${mirror.adminUrl}/metrics`);
  const lines = body.toString().split("\n");
  return lines
    .filter((line) => line.startsWith(name))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

function refused(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => {
      socket.destroy();
      resolve(false);
    });
    socket.on("error", () => resolve(true));
  });
}

const config = { workers: 2 };

test("a herd over two processes costs one upstream request, and both of them answer", async () => {
  const content = new VirtualContent(16 * MIB, 301);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const gate = upstream.gate({ kind: "blob" }, 8 * MIB);
  const early = Array.from({ length: 30 }, () => getHashed(url));
  await gate.reached;
  const late = Array.from({ length: 30 }, () => getHashed(url));
  gate.release();
  const answers = await Promise.all([...early, ...late]);
  for (const answer of answers) assert.equal(answer.digest, content.digest);
  assert.equal(upstream.count({ method: "GET", kind: "blob" }), 1);
  const misses = answers.filter((answer) => answer.headers["cache-status"]?.includes("stored"));
  assert.equal(misses.length, 1);
  await until(async () => (await counter(mirror, "wharfinger_requests_total")) === 60, "not all were counted");
  assert.equal(await counter(mirror, "wharfinger_followers_active"), 0);
  assert.equal(await counter(mirror, "wharfinger_fills_active"), 0);
});

test("a process that is killed in a herd cuts its own clients alone, and is replaced", async () => {
  const content = new VirtualContent(16 * MIB, 302);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const ended: unknown[] = [];
  mirror.mirror.notices.on("workerEnded", (fact) => ended.push(fact));
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  for (let n = 0; n < 40; n += 1) await get(`${mirror.url}/v2/`);
  await until(async () => (await counter(mirror, "wharfinger_requests_total")) === 40, "not all were counted");
  const gate = upstream.gate({ kind: "blob" }, 8 * MIB);
  const herd = Array.from({ length: 40 }, () => getHashed(url));
  await gate.reached;
  await until(async () => (await counter(mirror, "wharfinger_followers_active")) === 40, "not all of them follow");
  const [victim] = childrenOf(process.pid);
  assert.ok(victim !== undefined);
  process.kill(victim, "SIGKILL");
  await until(() => ended.length === 1, "the death went unnoticed");
  gate.release();
  const answers = await Promise.all(herd);
  const whole = answers.filter(({ complete }) => complete);
  assert.ok(whole.length > 0 && whole.length < 40, `${whole.length} of 40 clients were served to the end`);
  for (const answer of whole) assert.equal(answer.digest, content.digest);
  assert.equal(upstream.count({ method: "GET", kind: "blob" }), 1);
  await until(async () => (await get(`${mirror.adminUrl}/readyz`)).status === 200, "it was not replaced");
  assert.equal(childrenOf(process.pid).length, 2);
  assert.ok((await counter(mirror, "wharfinger_requests_total")) >= 40 + whole.length);
  assert.equal(await counter(mirror, "wharfinger_followers_active"), 0);
  assert.equal((await getHashed(url)).headers["cache-status"], "wharfinger; hit");
  await mirror.settled();
});

test("a client whose process was killed goes on where it was, and the fill is the same one", async () => {
  const content = new VirtualContent(12 * MIB, 303);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  const gate = upstream.gate({ kind: "blob" }, 6 * MIB);
  const first = getHashed(url);
  await gate.reached;
  for (const pid of childrenOf(process.pid)) process.kill(pid, "SIGKILL");
  const cut = await first;
  assert.equal(cut.complete, false);
  const again = getHashed(url);
  await until(async () => (await counter(mirror, "wharfinger_followers_active")) === 1, "nobody took its place");
  gate.release();
  assert.equal((await again).digest, content.digest);
  assert.equal(upstream.count({ method: "GET", kind: "blob" }), 1);
});

test("a tag that one process learned to have changed is the new one in every process", async () => {
  const [old, young] = [makeImage({ seed: 1 }), makeImage({ seed: 2 })];
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", old, "1");
  const freshness = { tags: "1ms", staleWhileRevalidate: "1ms" };
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    upstream: { freshness },
    config,
  });
  const url = `${mirror.url}/v2/demo/manifests/1`;
  for (let n = 0; n < 10; n += 1) assert.deepEqual((await get(url)).body, old.manifest);
  upstream.shelves.add("library/demo", young, "1");
  for (let n = 0; n < 10; n += 1) assert.deepEqual((await get(url)).body, young.manifest);
});

test("a repository that has not the blob gets nothing of the fill that another one began at the same moment", async () => {
  const content = new VirtualContent(2 * MIB, 309);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const answers = await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const name = n % 2 === 0 ? "demo" : "other";
      return { name, answer: await getHashed(`${mirror.url}/v2/${name}/blobs/${content.digest}`) };
    }),
  );
  for (const { name, answer } of answers) assert.equal(answer.status, name === "demo" ? 200 : 404);
});

test("what was removed or damaged on disk is fetched again, once, by whichever process notices", async () => {
  const content = new VirtualContent(2 * MIB, 304);
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
  await getHashed(url);
  await mirror.settled();
  const hex = content.digest.slice("sha256:".length);
  const file = join(mirror.dir, "v1", "blobs", "sha256", hex.slice(0, 2), hex);
  await rm(file);
  for (const answer of await Promise.all(Array.from({ length: 20 }, () => getHashed(url)))) {
    assert.equal(answer.digest, content.digest);
  }
  assert.equal(upstream.count({ method: "GET" }), 2);
  await mirror.settled();
  await rm(file);
  await writeFile(file, "short");
  for (const answer of await Promise.all(Array.from({ length: 20 }, () => getHashed(url)))) {
    assert.equal(answer.digest, content.digest);
  }
  assert.equal(upstream.count({ method: "GET" }), 3);
});

test("a second mirror on the same cache directory is refused, with and without workers", async () => {
  await using upstream = await TestUpstream.start();
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const { dir } = mirror;
  for (const workers of [1, 2]) {
    const second = TestMirror.start({ upstreams: { "docker.io": upstream }, dir, config: { workers } });
    await assert.rejects(second, /in use by another process/);
  }
});

test("a clock of one's own and several processes exclude each other", async () => {
  const clock = { now: () => 0, after: () => () => {} };
  await assert.rejects(TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" }, config, clock }), /clock/);
});

test("nothing is left of a mirror with workers: no process, socket, timer or descriptor", async () => {
  const content = new VirtualContent(4 * MIB, 305);
  const baseline = openResources();
  const descriptors = (await readdir("/proc/self/fd")).length;
  {
    await using upstream = await TestUpstream.start();
    upstream.shelves.addBlob("library/demo", content);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
    const url = `${mirror.url}/v2/library/demo/blobs/${content.digest}`;
    const leaving = Array.from({ length: 5 }, () => getHashed(url, { leaveAfterBytes: 1000 }));
    await Promise.all([...leaving, ...Array.from({ length: 5 }, () => getHashed(url))]);
    await mirror.settled();
    assert.equal(childrenOf(process.pid).length, 2);
  }
  assert.deepEqual(childrenOf(process.pid), []);
  assert.deepEqual(await residueSince(baseline), []);
  assert.ok((await readdir("/proc/self/fd")).length <= descriptors);
});

interface Run {
  readonly child: ChildProcess;
  readonly url: string;
  readonly output: { out: string; err: string };
  readonly ended: Promise<number | null>;
}

async function run(dir: string, upstream: string): Promise<Run> {
  const file = join(dir, "config.yaml");
  await writeFile(
    file,
    `listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\ncache: { dir: cache, minFree: 0 }\nworkers: 2\n` +
      `upstreams:\n  docker.io: { url: "${upstream}", allowPrivate: true }\n`,
  );
  const child = spawn(process.execPath, [MAIN, "--config", file], {
    cwd: dir,
    env: programEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output = { out: "", err: "" };
  child.stdout?.on("data", (chunk) => {
    output.out += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    output.err += chunk;
  });
  const ended = new Promise<number | null>((resolve) => child.once("close", (code) => resolve(code)));
  await until(() => /serves http/.test(output.err) || child.exitCode !== null, "it did not start");
  const url = /serves (http:\/\/\S+)/.exec(output.err)?.[1];
  assert.ok(url !== undefined, output.err);
  return { child, url, output, ended };
}

test("SIGTERM lets running pulls finish in every process; the log of all of them is whole lines", async () => {
  const content = new VirtualContent(3 * MIB, 306);
  await using dir = await makeTempDir();
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  const mirror = await run(dir.path, upstream.url);
  const fronts = childrenOf(mirror.child.pid ?? 0);
  const gate = upstream.gate({ kind: "blob" }, MIB);
  const pulls = Array.from({ length: 10 }, () => getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`));
  await gate.reached;
  for (let n = 0; n < 200; n += 1) await get(`${mirror.url}/v2/`);
  mirror.child.kill("SIGTERM");
  // As from a terminal, which signals everybody.
  for (const pid of fronts) process.kill(pid, "SIGINT");
  await until(() => refused(mirror.url), "it still takes connections");
  gate.release();
  for (const pull of await Promise.all(pulls)) assert.equal(pull.digest, content.digest);
  assert.equal(await mirror.ended, 0);
  assert.deepEqual(fronts.filter(alive), []);
  const lines = mirror.output.out.trimEnd().split("\n");
  for (const line of lines) assert.doesNotThrow(() => JSON.parse(line), line);
  assert.equal(lines.filter((line) => line.includes('"answered"')).length, 210);
});

test("a second signal ends all processes at once", async () => {
  const content = new VirtualContent(3 * MIB, 307);
  await using dir = await makeTempDir();
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  const mirror = await run(dir.path, upstream.url);
  const fronts = childrenOf(mirror.child.pid ?? 0);
  const gate = upstream.gate({ kind: "blob" }, MIB);
  const pull = getHashed(`${mirror.url}/v2/demo/blobs/${content.digest}`);
  await gate.reached;
  mirror.child.kill("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, 400));
  mirror.child.kill("SIGTERM");
  assert.equal(await mirror.ended, 143);
  assert.equal((await pull).complete, false);
  await until(() => !fronts.some(alive), "a process was left behind");
  gate.release();
});

test("when the origin side is killed, the others end and leave the port, and a new mirror can begin", async () => {
  const content = new VirtualContent(3 * MIB, 308);
  await using dir = await makeTempDir();
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  const mirror = await run(dir.path, upstream.url);
  const fronts = childrenOf(mirror.child.pid ?? 0);
  assert.equal(fronts.length, 2);
  const gate = upstream.gate({ kind: "blob" }, MIB);
  const answer = await open(`${mirror.url}/v2/demo/blobs/${content.digest}`);
  answer.on("error", () => {});
  answer.resume();
  await gate.reached;
  mirror.child.kill("SIGKILL");
  await until(() => !fronts.some(alive), "a process outlived its parent");
  assert.ok(await refused(mirror.url));
  gate.release();
  const next = await run(dir.path, upstream.url);
  assert.equal((await getHashed(`${next.url}/v2/demo/blobs/${content.digest}`)).digest, content.digest);
  next.child.kill("SIGTERM");
  assert.equal(await next.ended, 0);
});
