/** `wharfinger bench`: usage, exit codes, files, signals; against an upstream in this process. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { run } from "../../src/cli/run.ts";
import type { StopSignal, World } from "../../src/cli/world.ts";
import { makeImage } from "../kit/image.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream, type TestUpstreamOptions } from "../kit/upstream.ts";

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const image = makeImage();

function stage(env: World["env"] = {}, isTTY = false) {
  const seen = { stdout: "", stderr: "", exits: [] as number[] };
  let signal: ((signal: StopSignal) => void) | undefined;
  const world: World = {
    env,
    stdout: { write: (text) => (seen.stdout += text) },
    stderr: { write: (text) => (seen.stderr += text), isTTY, columns: 200 },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => assert.fail("bench needs no mirror"),
    onSignal(listener) {
      signal = listener;
      return () => {
        signal = undefined;
      };
    },
    exit: (code) => void seen.exits.push(code),
  };
  return { seen, world, send: (name: StopSignal) => signal?.(name), watching: () => signal !== undefined };
}

async function stocked(options: TestUpstreamOptions = {}): Promise<TestUpstream> {
  const upstream = await TestUpstream.start(options);
  upstream.shelves.add("app", image, "1");
  return upstream;
}

test("a run ends with a report on standard output and exit code 0", async () => {
  await using upstream = await stocked();
  const { seen, world, watching } = stage();
  const args = ["bench", upstream.url, "app:1", "--scenario", "herd", "--clients", "4", "--as", "podman"];
  assert.equal(await run(args, world), 0);
  assert.match(seen.stdout, /^herd as podman · 4 clients/);
  assert.match(seen.stdout, /pulls +4,/);
  assert.equal(seen.stderr, "");
  assert.equal(watching(), false);
});

test("JSON, page and text go into files, or JSON alone to standard output", async () => {
  await using upstream = await stocked();
  await using dir = await makeTempDir("bench");
  const file = (name: string) => join(dir.path, name);
  const herd = ["bench", upstream.url, "app:1", "--scenario", "herd", "--clients", "2"];
  const { seen, world } = stage();
  const args = [...herd, "--json", file("a.json"), "--html", file("a.html"), "-o", file("a.txt")];
  assert.equal(await run(args, world), 0);
  assert.equal(seen.stdout, "");
  const report = JSON.parse(readFileSync(file("a.json"), "utf8"));
  assert.equal(report.format, "wharfinger-bench/1");
  assert.equal(report.version, "1.2.3");
  assert.equal(report.totals.pulls, 2);
  assert.equal(report.arguments.scenario, "herd");
  assert.match(readFileSync(file("a.html"), "utf8"), /^<!doctype html>/);
  assert.match(readFileSync(file("a.txt"), "utf8"), /^herd as containerd/);
  const second = stage();
  assert.equal(await run([...herd, "--json", "-"], second.world), 0);
  assert.equal(JSON.parse(second.seen.stdout).totals.pulls, 2);
});

test("a file that cannot be written is told before the run", async () => {
  await using upstream = await stocked();
  const { seen, world } = stage();
  assert.equal(await run(["bench", upstream.url, "app:1", "--html", "/nowhere/at/all.html"], world), 2);
  assert.match(seen.stderr, /cannot write the report: .*\/nowhere/);
  assert.deepEqual(upstream.requests, []);
});

test("a wrong digest is exit code 1 and in the report", async () => {
  await using upstream = await stocked();
  upstream.fault({ kind: "blob" }, { flipAtByte: 5 });
  const { seen, world } = stage();
  assert.equal(await run(["bench", upstream.url, "app:1", "--scenario", "herd"], world), 1);
  assert.match(seen.stdout, /wrong digest: \d+\n {4}GET \/v2\/app\/blobs\/sha256:/);
});

test("not found is exit code 3, refused 4, unreachable 1, each with what to do", async () => {
  await using upstream = await stocked();
  await using closed = await stocked({ auth: { mode: "basic", username: "u", password: "p" } });
  for (const [args, code, text] of [
    [[upstream.url, "other:1"], 3, /other:1: .* no such image; name one/],
    [[closed.url, "app:1"], 4, /401; give --username/],
    [["http://127.0.0.1:1", "app"], 1, /http:\/\/127\.0\.0\.1:1: connect: /],
  ] as const) {
    const { seen, world } = stage();
    assert.equal(await run(["bench", ...args], world), code);
    assert.match(seen.stderr, text);
    assert.equal(seen.stdout, "");
  }
});

test("the password comes from the environment and is nowhere in the report", async () => {
  await using upstream = await stocked({ auth: { mode: "basic", username: "u", password: "open sesame" } });
  const { seen, world } = stage({ MY_PASSWORD: "open sesame" });
  const args = ["bench", upstream.url, "app:1", "--scenario", "herd", "--username", "u", "--json", "-"];
  assert.equal(await run([...args, "--password-env", "MY_PASSWORD"], world), 0);
  assert.doesNotMatch(seen.stdout, /sesame/);
  const without = stage();
  assert.equal(await run(args, without.world), 2);
  assert.match(without.seen.stderr, /environment variable WHARFINGER_BENCH_PASSWORD/);
});

for (const args of [
  [],
  ["nowhere"],
  ["ftp://h"],
  ["http://u:p@h"],
  ["http://h?x=1"],
  ["http://h", "UPPER"],
  ["http://h", "a", "--scenario", "other"],
  ["http://h", "a", "--as", "crane"],
  ["http://h", "a", "--clients", "0"],
  ["http://h", "a", "--clients", "many"],
  ["http://h", "a", "--clients", "1", "--clients", "2"],
  ["http://h", "a", "--duration", "10"],
  ["http://h", "a", "--duration", "0"],
  ["http://h", "a", "--platform", "linux"],
  ["http://h", "a", "--zipf", "-1"],
  ["http://h", "a", "--ca", "/nowhere.pem"],
  ["http://h", "a", "--method", "PUT"],
  ["http://h", "ghcr.io/a/b", "--as", "dockerd"],
  ["http://h", "a", "--bogus"],
  ["http://h", "a", "--json"],
]) {
  test(`bad usage is exit code 2: bench ${args.join(" ")}`, async () => {
    const { seen, world } = stage();
    assert.equal(await run(["bench", ...args], world), 2);
    assert.match(seen.stderr, /--help says what can be given\n$/);
    assert.equal(seen.stdout, "");
  });
}

test("--help shows the scenarios, flags with defaults, and examples", async () => {
  const { seen, world } = stage();
  assert.equal(await run(["bench", "--help"], world), 0);
  for (const part of ["herd ", "slow ", "--chunk-size", "4MiB", "--no-verify", "Examples:", "Exit codes"]) {
    assert.ok(seen.stdout.includes(part), part);
  }
  assert.doesNotMatch(seen.stdout, /--cache-max-size/);
  const whole = stage();
  await run(["--help"], whole.world);
  assert.match(whole.seen.stdout, /bench <url> \[refs\.\.\]/);
});

test("on a terminal one line shows how it goes; --quiet shows nothing", async () => {
  await using upstream = await stocked();
  const args = ["bench", upstream.url, "app:1", "--duration", "1500ms"];
  const shown = stage({}, true);
  assert.equal(await run(args, shown.world), 0);
  assert.match(shown.seen.stderr.split("\r\u001b[2K")[1] ?? "", /^\d+ s · [\d ]+ pulls/);
  assert.ok(shown.seen.stderr.endsWith("\r\u001b[2K"), "and is taken away");
  const quiet = stage({}, true);
  assert.equal(await run([...args, "--quiet"], quiet.world), 0);
  assert.equal(quiet.seen.stderr, "");
});

test("the first signal ends the run with its report, the second the process", async () => {
  await using upstream = await stocked();
  const { seen, world, send } = stage();
  const ended = run(["bench", upstream.url, "app:1", "--duration", "1h"], world);
  await upstream.waitFor({ kind: "blob" }, 100);
  send("SIGINT");
  send("SIGINT");
  assert.deepEqual(seen.exits, [], "a terminal's signal that comes twice, by way of npm, is one");
  send("SIGTERM");
  assert.deepEqual(seen.exits, [143]);
  assert.equal(await ended, 0);
  assert.match(seen.stdout, /ended early/);
  assert.match(seen.stderr, /ending the run/);
});

test("the program itself ends when the run does, and a real SIGINT gives a report", async () => {
  await using upstream = await stocked();
  const child = spawn(process.execPath, [main, "bench", upstream.url, "app:1", "--duration", "1h", "--json", "-"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const closed = new Promise<number | null>((resolve) => child.on("close", resolve));
  try {
    await upstream.waitFor({ kind: "blob" }, 100, 20_000);
    child.kill("SIGINT");
    assert.equal(await closed, 0);
    assert.equal(JSON.parse(output).ended, "interrupted");
  } finally {
    child.kill("SIGKILL");
  }
});

test("bench loads no mirror, and nothing else loads the benchmark", async () => {
  const trace =
    "data:text/javascript,import{registerHooks}from'node:module';" +
    "registerHooks({load(url,context,next){console.error('loads '+url);return next(url,context)}})";
  const loads = (...args: string[]) => {
    const { stderr } = spawnSync(process.execPath, ["--import", trace, main, ...args], { encoding: "utf8" });
    return stderr.split("\n").filter((line) => line.startsWith("loads file:"));
  };
  const bench = loads("bench", "http://127.0.0.1:1", "a");
  assert.ok(bench.some((line) => line.includes("/src/load/run.ts")));
  assert.deepEqual(
    bench.filter((line) => /\/src\/(?:app\.ts|mirror|store|meta|http|observe)/.test(line)),
    [],
  );
  // A port that nothing may listen on: the mirror is built, and does not start.
  await using dir = await makeTempDir("bench-serve");
  const serve = loads("--listen", "192.0.2.1:5000", "--cache-dir", join(dir.path, "cache"));
  assert.ok(serve.some((line) => line.includes("/src/app.ts")));
  assert.deepEqual(
    serve.filter((line) => line.includes("/src/load/")),
    [],
  );
  assert.ok(existsSync(main));
});
