/**
 * The program as users start it, as a process of its own: what it says, how it ends, what is left.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { VirtualContent } from "../kit/content.ts";
import { getHashed } from "../kit/http.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { programEnvironment } from "../kit/workers.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

interface Run {
  readonly child: ChildProcess;
  readonly output: { out: string; err: string };
  readonly ended: Promise<number | null>;
}

function start(args: readonly string[], cwd: string): Run {
  const child = spawn(process.execPath, [MAIN, ...args], {
    cwd,
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
  return { child, output, ended };
}

async function url(run: Run): Promise<string> {
  for (let tries = 0; tries < 1000; tries += 1) {
    const found = /serves (http:\/\/\S+)/.exec(run.output.err)?.[1];
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`it did not start: ${run.output.err}`);
}

async function config(dir: string, upstream: string, more = ""): Promise<string> {
  const file = join(dir, "config.yaml");
  await writeFile(
    file,
    `listen: 127.0.0.1:0\nadmin: { listen: 127.0.0.1:0 }\ncache: { dir: cache, minFree: 0 }\n` +
      `upstreams:\n  docker.io: { url: "${upstream}", allowPrivate: true }\n${more}`,
  );
  return file;
}

test("a port in use and a cache directory that cannot be written are one line each, and exit code 1", async () => {
  await using dir = await makeTempDir();
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as { port: number };
  await writeFile(join(dir.path, "file"), "");
  for (const [args, message] of [
    [["--listen", `127.0.0.1:${port}`, "--admin-listen", "127.0.0.1:0"], /port is in use/],
    [["--cache-dir", join(dir.path, "file")], /cache directory/],
    [["--cache-dir", "/proc/nope"], /cache directory/],
  ] as const) {
    const run = start(args, dir.path);
    assert.equal(await run.ended, 1);
    assert.match(run.output.err, message);
    assert.equal(run.output.err.trim().split("\n").length, 1, run.output.err);
  }
  taken.close();
});

test("faults of the configuration are told with path and line, all of them, and exit code 2", async () => {
  await using dir = await makeTempDir();
  const file = await config(dir.path, "http://127.0.0.1:9", "cache_dir: x\noffline: maybe\n");
  const run = start(["--config", file], dir.path);
  assert.equal(await run.ended, 2);
  assert.match(run.output.err, /config\.yaml:6: cache_dir: unknown key/);
  assert.match(run.output.err, /config\.yaml:7: offline: /);
});

test("SIGTERM lets a running pull finish and exits 0; SIGKILL leaves what was complete", async () => {
  const content = new VirtualContent(3 * 1024 * 1024, 111);
  await using dir = await makeTempDir();
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  const file = await config(dir.path, upstream.url);
  const path = `/v2/demo/blobs/${content.digest}`;

  const first = start(["--config", file], dir.path);
  const gate = upstream.gate({ kind: "blob" }, 1024 * 1024);
  const pull = getHashed((await url(first)) + path);
  await gate.reached;
  first.child.kill("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, 100));
  gate.release();
  assert.equal((await pull).digest, content.digest);
  assert.equal(await first.ended, 0);
  assert.match(first.output.out, /"msg":"answered"/, "the log is written to its end");

  upstream.forgetRequests();
  const second = start(["--config", file], dir.path);
  assert.equal((await getHashed((await url(second)) + path)).digest, content.digest);
  second.child.kill("SIGKILL");
  await second.ended;
  const third = start(["--config", file], dir.path);
  assert.equal((await getHashed((await url(third)) + path)).headers["cache-status"], "wharfinger; hit");
  assert.equal(upstream.requests.length, 0);
  third.child.kill("SIGTERM");
  assert.equal(await third.ended, 0);
});

test("a second signal stops at once, whatever still runs", async () => {
  const content = new VirtualContent(3 * 1024 * 1024, 112);
  await using dir = await makeTempDir();
  await using upstream = await TestUpstream.start();
  upstream.shelves.addBlob("library/demo", content);
  const run = start(["--config", await config(dir.path, upstream.url)], dir.path);
  const gate = upstream.gate({ kind: "blob" }, 1024 * 1024);
  const pull = getHashed(`${await url(run)}/v2/demo/blobs/${content.digest}`);
  await gate.reached;
  run.child.kill("SIGTERM");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  run.child.kill("SIGTERM");
  assert.equal(await run.ended, 143);
  assert.equal((await pull).complete, false);
  gate.release();
});
