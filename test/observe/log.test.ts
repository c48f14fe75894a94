/** The log: one line per answer at the level it deserves, and no secrets in it. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Failure } from "../../src/base/failure.ts";
import { Notices } from "../../src/base/notices.ts";
import type { AnsweredFact, MirrorNotices } from "../../src/mirror/notices.ts";
import { createLog, type LogSettings, observeWithLog } from "../../src/observe/log.ts";
import { answeredFact } from "./facts.ts";

function observed(level: LogSettings["level"] = "info") {
  const lines: Record<string, unknown>[] = [];
  const log = createLog({ level, format: "json" }, { write: (line) => void lines.push(JSON.parse(line)) });
  const notices = new Notices<MirrorNotices>();
  const end = observeWithLog(log, notices);
  return { lines, notices, end };
}

test("a damaged index is told once, and not by everybody who meets it", () => {
  const { lines, notices } = observed();
  const cause = Object.assign(new Error("database disk image is malformed"), { code: "ERR_SQLITE_ERROR", errcode: 11 });
  notices.emit("indexDamaged", { message: "the index is damaged", cause });
  for (let at = 0; at < 3; at += 1) {
    notices.emit("storageTrouble", { message: "a permission could not be recorded", cause });
    notices.emit("backgroundFailed", { what: "writing down what was used", cause });
  }
  assert.deepEqual(
    lines.map(({ level, problem }) => [level, problem]),
    [["error", "the index is damaged"]],
  );
});

test("an answered request is one line with its fields", () => {
  const { lines, notices } = observed();
  notices.emit("answered", answeredFact());
  const [{ time, ...line } = {}] = lines;
  assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Math.abs(Date.parse(String(time)) - Date.now()) < 60_000);
  assert.deepEqual(line, {
    level: "info",
    method: "GET",
    upstream: "docker.io",
    kind: "manifest",
    repository: "library/alpine",
    reference: "latest",
    status: 200,
    bytes: 1234,
    firstByteMs: 1.23,
    totalMs: 2.35,
    cache: "hit",
    requestId: "r1",
    remoteAddress: "127.0.0.1",
    userAgent: "containerd/2.1.0",
    msg: "answered",
  });
});

test("a failure is told by kind and message, a bug with its stack, both without secrets", () => {
  const { lines, notices } = observed();
  const cause = new Error("at https://cdn.example/x?sig=hush");
  notices.emit(
    "answered",
    answeredFact({ status: 502, error: new Failure("refused", "Bearer hushhush refused", { cause }) }),
  );
  notices.emit("answered", answeredFact({ status: 500, error: new TypeError("token=hush") }));
  assert.deepEqual(lines[0]?.err, {
    kind: "refused",
    message: "Bearer [redacted] refused",
    cause: "at https://cdn.example/x?sig=[redacted]",
  });
  assert.equal(lines[0]?.level, "warn");
  assert.match(JSON.stringify(lines[1]?.err), /"type":"TypeError".*"stack":"TypeError: token=\[redacted\]/);
  assert.doesNotMatch(JSON.stringify(lines), /hush/);
});

test("a client that leaves is no error, whatever the status was to be", () => {
  const { lines, notices } = observed();
  notices.emit("answered", answeredFact({ status: 503, aborted: true }));
  assert.equal(lines[0]?.level, "info");
  assert.equal(lines[0]?.aborted, true);
});

test("a secret in a user agent is not written", () => {
  const { lines, notices } = observed();
  for (let at = 0; at < 2; at++)
    notices.emit("answered", answeredFact({ userAgent: "curl Authorization: Bearer hushhush" }));
  assert.equal(lines.length, 2);
  assert.doesNotMatch(JSON.stringify(lines), /hush/);
});

test("below its level nothing is written, nor even read from the fact", () => {
  const { lines, notices } = observed("error");
  const untouchable = new Proxy(answeredFact(), {
    get(fact, key) {
      assert.ok(key === "status" || key === "aborted", String(key));
      return Reflect.get(fact, key);
    },
  }) satisfies AnsweredFact;
  notices.emit("answered", untouchable);
  notices.emit("staleServed", { upstream: "docker.io", reason: "limited" });
  assert.deepEqual(lines, []);
});

test("other facts are written at fitting levels", () => {
  const { lines, notices, end } = observed("debug");
  const digest = `sha256:${"a".repeat(64)}`;
  const fill = { upstream: "docker.io", digest, bytes: 5, durationMs: 1 };
  notices.emit("fillEnded", { ...fill, failure: undefined });
  notices.emit("fillEnded", { ...fill, failure: new Failure("unreachable", "gone") });
  notices.emit("fillEnded", { ...fill, failure: new Failure("overloaded", "the mirror is shutting down") });
  notices.emit("digestMismatch", { upstream: "docker.io", expected: digest, found: digest });
  notices.emit("staleServed", { upstream: "docker.io", reason: "limited" });
  notices.emit("upstreamTrouble", { upstream: "docker.io", message: "odd realm" });
  notices.emit("storageTrouble", { message: "a stored manifest is damaged", cause: undefined });
  const disk = new Failure("storage", "cannot write: ENOSPC: no space left on device");
  notices.emit("storageTrouble", { message: "a manifest could not be stored", cause: disk });
  notices.emit("fillEnded", { ...fill, failure: disk });
  notices.emit("storageDegraded", { errno: "ENOSPC", why: "the disk is full", advice: "free space", cause: disk });
  notices.emit("storageHealed", { errno: "ENOSPC", durationMs: 1, failures: 3 });
  notices.emit("backgroundFailed", { what: "refresh", cause: new Error("x") });
  notices.emit("upstreamRequest", { upstream: "docker.io", kind: "blob", method: "GET", status: 200, durationMs: 1 });
  // One line for each incident of the disk, and none for each pull that met it.
  const incident = ["debug", "debug", "warn", "warn"];
  const levels = ["debug", "warn", "info", "error", "debug", "warn", "error", ...incident, "warn", "debug"];
  assert.deepEqual(
    lines.map(({ level }) => level),
    levels,
  );
  end();
  notices.emit("staleServed", { upstream: "docker.io", reason: "limited" });
  assert.equal(lines.length, levels.length);
});

for (const format of ["json", "pretty"]) {
  test(`what is gathered for standard output is written when the process exits (${format})`, () => {
    const log = JSON.stringify(fileURLToPath(new URL("../../src/observe/log.ts", import.meta.url)));
    const script = `import { createLog } from ${log};
      createLog({ level: "info", format: "${format}" }).info("last words");
      process.exit(0);`;
    const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    assert.match(output, /last words/);
  });
}

test("a full disk under standard output ends neither the process nor its end", {
  skip: existsSync("/dev/full") ? false : "no /dev/full here",
}, () => {
  const log = JSON.stringify(fileURLToPath(new URL("../../src/observe/log.ts", import.meta.url)));
  const script = `import { createLog } from ${log};
    const log = createLog({ level: "info", format: "json" });
    for (let at = 0; at < 1000; at++) log.info("a line that finds no room");
    setTimeout(() => { log.info("one more"); process.stderr.write("still here"); process.exit(7); }, 300);`;
  const full = openSync("/dev/full", "w");
  try {
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", full, "pipe"],
      encoding: "utf8",
      timeout: 15_000,
      killSignal: "SIGKILL",
    });
    assert.equal(stderr, "still here");
    assert.equal(status, 7);
  } finally {
    closeSync(full);
  }
});

test("whom an upstream counts is told once, and again when it is another", () => {
  const { lines, notices } = observed();
  const fact = { upstream: "docker.io", account: "anonymous", limit: 100, remaining: 42 };
  for (const source of [undefined, "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.1"]) {
    notices.emit("rateLimit", { ...fact, source });
  }
  assert.deepEqual(
    lines.map(({ msg, account, source }) => [msg, account, source]),
    ["192.0.2.1", "192.0.2.2"].map((source) => ["upstream counts our pulls", "anonymous", source]),
  );
});

test("an account whose limit is used up is one line, and one more when there is some again", () => {
  const { lines, notices } = observed();
  const fact = { upstream: "docker.io", account: "robot", limit: 100 };
  notices.emit("rateLimit", { ...fact, remaining: 0, resetMs: 60_000 });
  notices.emit("rateLimit", { ...fact, remaining: 0 });
  notices.emit("rateLimit", { ...fact, remaining: 99 });
  notices.emit("rateLimit", { ...fact, remaining: 98 });
  assert.deepEqual(
    lines.map(({ level, msg, account }) => [level, msg, account]),
    [
      ["warn", "limit of an account is used up", "robot"],
      ["info", "limit of an account is there again", "robot"],
    ],
  );
  assert.match(String(lines[0]?.["until"]), /^\d{4}-\d\d-\d\dT/);
});

test("troubles name the account, an endpoint's silence its reason, and an account that is accepted again is told", () => {
  const { lines, notices } = observed();
  const upstream = "docker.io";
  notices.emit("upstreamTrouble", { upstream, account: "robot", message: "it is refused" });
  const endpoint = "https://registry-1.docker.io";
  notices.emit("upstreamCircuit", { upstream, endpoint, state: "open", best: "open", reason: "no route to it" });
  notices.emit("accountJudged", { upstream, account: "robot", verdict: "refused" });
  notices.emit("accountJudged", { upstream, account: "robot", verdict: "accepted" });
  assert.deepEqual(
    lines.map(({ time: _, ...line }) => line),
    [
      { level: "warn", upstream, account: "robot", problem: "it is refused", msg: "upstream trouble" },
      { level: "warn", upstream, endpoint, reason: "no route to it", msg: "upstream does not answer" },
      { level: "info", upstream, account: "robot", msg: "account is accepted again" },
    ],
  );
});

test("what is evicted is told image by image, and of a large sweep the rest in one line", () => {
  const { lines, notices } = observed();
  const fact = { upstream: "docker.io", digest: "sha256:a", names: [], blobs: 2, bytes: 10, lastUsedAt: 0, hits: 1 };
  const evict = (images: number) => {
    for (let at = 0; at < images; at += 1) notices.emit("evicted", { reason: "size", ...fact });
    notices.emit("evictionEnded", { reason: "size", images, blobs: 2 * images, bytes: 10 * images, durationMs: 1.234 });
  };
  evict(3);
  assert.deepEqual(
    lines.map(({ msg }) => msg),
    ["evicted", "evicted", "evicted"],
  );
  assert.equal(lines[0]?.["lastUsedAt"], "1970-01-01T00:00:00.000Z");
  lines.length = 0;
  evict(250);
  assert.equal(lines.length, 101);
  const { msg, untold, images, bytes } = lines.at(-1) ?? {};
  assert.deepEqual({ msg, untold, images, bytes }, { msg: "many were evicted", untold: 150, images: 250, bytes: 2500 });
});
