/** Two programs on one cache directory, and what the log says of an index that was lost: as operators see it. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { makeTempDir } from "../kit/temp.ts";
import { programEnvironment } from "../kit/workers.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

interface Run {
  readonly child: ChildProcess;
  readonly said: { out: string; err: string };
  readonly ended: Promise<unknown[]>;
}

function serve(dir: string, workers: number): Run {
  const args = [
    "--cache-dir",
    dir,
    "--cache-min-free",
    "0",
    "--listen",
    "127.0.0.1:0",
    "--admin-listen",
    "127.0.0.1:0",
  ];
  const child = spawn(process.execPath, [MAIN, "serve", ...args, "--workers", String(workers)], {
    env: programEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = { out: "", err: "" };
  child.stdout.on("data", (text) => {
    said.out += text;
  });
  child.stderr.on("data", (text) => {
    said.err += text;
  });
  return { child, said, ended: once(child, "close") };
}

async function listening({ said, ended }: Run): Promise<void> {
  let over = false;
  void ended.then(() => {
    over = true;
  });
  while (!said.err.includes("serves http") && !over) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(said.err.includes("serves http"), said.err);
}

async function stop({ child, ended }: Run, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  child.kill(signal);
  await ended;
}

for (const [first, second] of [
  [1, 1],
  [2, 1],
  [1, 2],
] as const) {
  test(`a second mirror (${second} workers) says which process has the directory (${first} workers), and exits 1`, async () => {
    await using dir = await makeTempDir("one");
    const holder = serve(dir.path, first);
    try {
      await listening(holder);
      const refused = serve(dir.path, second);
      assert.deepEqual(await refused.ended, [1, null]);
      assert.match(
        refused.said.err,
        new RegExp(
          `^wharfinger: cannot start: the cache directory \\S+ is in use by another process: pid ${holder.child.pid} \\(main\\.ts serve\\), since 2\\S+Z\\n$`,
        ),
      );
      // However the first one ends, the next may begin at once.
      await stop(holder, "SIGKILL");
      const next = serve(dir.path, second);
      await listening(next);
      await stop(next);
      assert.equal(next.child.exitCode, 0);
      assert.equal(existsSync(join(dir.path, "v1", "owner.json")), false);
    } finally {
      await stop(holder, "SIGKILL");
    }
  });
}

test("an index that was lost is one warning in the log, and none in the next start's", async () => {
  await using dir = await makeTempDir("one");
  const first = serve(dir.path, 1);
  await listening(first);
  await stop(first);
  const path = join(dir.path, "v1", "index.sqlite");
  writeFileSync(path, Buffer.alloc(statSync(path).size));
  for (const expected of [1, 0]) {
    const run = serve(dir.path, 1);
    await listening(run);
    await stop(run);
    const warnings = run.said.out.split("\n").filter((line) => /"level":"(?:warn|error|fatal)"/.test(line));
    assert.equal(warnings.length, expected, run.said.out);
    if (expected === 1)
      assert.match(warnings[0] ?? "", /"msg":"index rebuilt".*"problem":|"problem":.*"msg":"index rebuilt"/);
  }
  assert.ok(readFileSync(path).length > 0);
});

test("a directory of a newer format is one line, and exit code 1", async () => {
  await using dir = await makeTempDir("one");
  await mkdir(join(dir.path, "v2"));
  const run = serve(dir.path, 1);
  assert.deepEqual(await run.ended, [1, null]);
  assert.match(run.said.err, /^wharfinger: cannot start: \S+v2 was written by a newer version; .*\n$/);
});
