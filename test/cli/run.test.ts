/** The command line: usage, exit codes, signals; with a mirror that only remembers what it was told. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Failure } from "../../src/base/failure.ts";
import { exitCodeOf } from "../../src/cli/exit.ts";
import { run } from "../../src/cli/run.ts";
import type { CreateMirror, RunningMirror, StopSignal, World } from "../../src/cli/world.ts";
import type { Config } from "../../src/config/schema.ts";
import { fileOf } from "./stage.ts";

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

function stage(mirror: Partial<RunningMirror> = {}, env: World["env"] = {}) {
  const seen = { stdout: "", stderr: "", exits: [] as number[], stops: [] as unknown[] };
  let config: Config | undefined;
  let signal: ((signal: StopSignal) => void) | undefined;
  const createMirror: CreateMirror = async (given) => {
    config = given;
    return {
      start: async () => ({ registry: { host: "127.0.0.1", port: 5000 }, admin: { host: "127.0.0.1", port: 5001 } }),
      stop: async (options) => void seen.stops.push(options),
      ...mirror,
    };
  };
  const world: World = {
    env,
    stdout: { write: (text) => (seen.stdout += text) },
    stderr: { write: (text) => (seen.stderr += text) },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => createMirror,
    onSignal(listener) {
      signal = listener;
      return () => {
        signal = undefined;
      };
    },
    exit: (code) => void seen.exits.push(code),
  };
  const send = (name: StopSignal) => signal?.(name);
  return { seen, world, send, config: () => config };
}

async function until(condition: () => boolean): Promise<void> {
  for (let turns = 0; !condition(); turns++) {
    assert.ok(turns < 10_000, "it never came");
    await turn();
  }
}

for (const args of [[], ["serve"]]) {
  test(`\`wharfinger ${args.join(" ")}\` serves until SIGTERM, drains, and exits 0`, async () => {
    const { seen, world, send, config } = stage();
    const ended = run([...args, "--drain-timeout", "7s", "--offline"], world);
    await until(() => seen.stderr.includes("wharfinger 1.2.3 serves http://127.0.0.1:5000"));
    send("SIGTERM");
    assert.equal(await ended, 0);
    assert.deepEqual(seen.stops, [{ graceMs: 7000 }]);
    assert.deepEqual(seen.exits, []);
    assert.equal(config()?.offline, true);
    assert.equal(seen.stdout, "");
  });
}

test("a second signal ends the process at once", async () => {
  const stopping = Promise.withResolvers<void>();
  const { seen, world, send } = stage({ stop: () => stopping.promise });
  const ended = run([], world);
  await until(() => seen.stderr.includes("serves"));
  send("SIGINT");
  send("SIGINT");
  await turn();
  assert.deepEqual(seen.exits, [], "a terminal's signal that comes twice, by way of npm, is one");
  await new Promise((resolve) => setTimeout(resolve, 200));
  send("SIGINT");
  assert.deepEqual(seen.exits, [130]);
  stopping.resolve();
  assert.equal(await ended, 0);
});

test("a signal during the start stops the mirror as soon as it has started", async () => {
  const { seen, world, send } = stage({
    start: async () => {
      send("SIGTERM");
      return { registry: { host: "127.0.0.1", port: 1 }, admin: { host: "127.0.0.1", port: 2 } };
    },
  });
  assert.equal(await run([], world), 0);
  assert.equal(seen.stops.length, 1);
});

test("a mirror that cannot start is one line and exit code 1", async () => {
  const { seen, world } = stage({
    start: async () => {
      throw new Failure("storage", "cannot write to /var/lib/wharfinger: EACCES");
    },
  });
  assert.equal(await run([], world), 1);
  assert.equal(seen.stderr, "wharfinger: cannot start: cannot write to /var/lib/wharfinger: EACCES\n");
  assert.deepEqual(seen.stops, [{ graceMs: 0 }]);
});

test("a port in use is one line and exit code 1", async () => {
  const { seen, world } = stage({
    start: async () => {
      throw Object.assign(new Error("listen EADDRINUSE: address already in use 127.0.0.1:5000"), {
        code: "EADDRINUSE",
        syscall: "listen",
      });
    },
  });
  assert.equal(await run([], world), 1);
  assert.match(seen.stderr, /^wharfinger: cannot start: listen EADDRINUSE.*127\.0\.0\.1:5000\n$/);
});

test("a bug is told with its stack", async () => {
  const { seen, world } = stage({
    start: async () => {
      throw new TypeError("undefined is not a function");
    },
  });
  assert.equal(await run([], world), 1);
  assert.match(seen.stderr, /this is a bug in wharfinger\nTypeError: .*\n.*run\.test\.ts/);
});

test("faults of the configuration are one line each and exit code 2", async () => {
  const { seen, world } = stage({}, { WHARFINGER_LOG_LEVEL: "loud" });
  assert.equal(await run(["--listen", "nowhere", "--config", "/nowhere/config.yaml"], world), 2);
  assert.deepEqual(seen.stderr.trim().split("\n"), [
    "/nowhere/config.yaml: no such file",
    "--listen: expected host:port, such as 127.0.0.1:5000, 0.0.0.0:5000 or [::]:5000",
    "WHARFINGER_LOG_LEVEL: expected one of trace, debug, info, warn, error, fatal, silent",
  ]);
});

for (const args of [
  ["--bogus"],
  ["bogus"],
  ["serve", "--listen"],
  ["--config"],
  ["--listen", "a:1", "--listen", "b:2"],
  ["--offline=maybe"],
  ["--", "foo"],
  ["serve", "--", "foo"],
  ["--config", "a.yaml", "--config", "b.yaml"],
  ["--no-config"],
  ["--config="],
]) {
  test(`bad usage is exit code 2: ${args.join(" ")}`, async () => {
    const { seen, world } = stage();
    assert.equal(await run(args, world), 2);
    assert.notEqual(seen.stderr, "");
    assert.doesNotMatch(seen.stderr, /directory/);
    assert.equal(seen.stdout, "");
  });
}

test("--help shows every setting with its default, and examples", async () => {
  for (const args of [["--help"], ["serve", "--help"]]) {
    const { seen, world } = stage();
    assert.equal(await run(args, world), 0);
    for (const part of ["--config", "--cache-max-size", "50GiB", "--drain-timeout", "--log-format"]) {
      assert.ok(seen.stdout.includes(part), part);
    }
  }
  const { seen, world } = stage();
  await run(["--help"], world);
  assert.match(seen.stdout, /Examples:/);
});

test("--version says the version", async () => {
  const { seen, world } = stage();
  assert.equal(await run(["--version"], world), 0);
  assert.equal(seen.stdout, "1.2.3\n");
});

test("failures have exit codes by their kind", () => {
  const codes = {
    invalid: 2,
    unknown: 3,
    denied: 4,
    refused: 4,
    unauthenticated: 4,
    storage: 1,
    unreachable: 1,
  } as const;
  for (const [kind, code] of Object.entries(codes) as [keyof typeof codes, number][]) {
    assert.equal(exitCodeOf(new Failure(kind, "x")), code, kind);
  }
});

test("the program itself says its version, and refuses bad usage with exit code 2", () => {
  const version = spawnSync(process.execPath, [main, "--version"], { encoding: "utf8" });
  assert.match(version.stdout, /^\d+\.\d+\.\d+/);
  assert.equal(version.status, 0);
  const bad = spawnSync(process.execPath, [main, "--bogus"], { encoding: "utf8" });
  assert.equal(bad.status, 2);
});

test("under an old Node the program says so in one line and exits 2", () => {
  const older =
    "data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'24.14.9'}})";
  const { status, stderr } = spawnSync(process.execPath, ["--import", older, main], { encoding: "utf8" });
  assert.equal(stderr, "wharfinger needs Node 24.15 or newer; this is 24.14.9\n");
  assert.equal(status, 2);
});

test("the start names every account, and warns of a helper that is not there", async (t) => {
  const credentials = [{ username: "robot", password: "x" }, { helper: "there-is-none" }, { anonymous: true }];
  const file = await fileOf(t, "config.yaml", JSON.stringify({ upstreams: { "docker.io": { credentials } } }));
  const { seen, world, send } = stage();
  const ended = run(["--config", file], world);
  await until(() => seen.stderr.includes("warning: "));
  send("SIGTERM");
  assert.equal(await ended, 0);
  assert.match(seen.stderr, /docker\.io \(as robot, helper there-is-none, anonymous, default\)/);
  assert.match(seen.stderr, /warning: docker\.io: the program docker-credential-there-is-none is not there/);
});
