/** An incident of the disk: told once, rested after, probed, and told to be over. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { findDiskFault } from "../../src/mirror/diskfaults.ts";
import { DiskHealth } from "../../src/mirror/diskhealth.ts";
import { ManualClock } from "../kit/clock.ts";
import { recorded } from "./parts.ts";

function errno(code: string): Error {
  return Object.assign(new Error(`${code}: it went wrong, write`), { code });
}

function scene() {
  const clock = new ManualClock();
  const { notices, facts: warnings } = recorded("storageDegraded");
  const healed: { durationMs: number; failures: number }[] = [];
  const errnos: string[] = [];
  notices.on("storageHealed", (fact) => healed.push(fact));
  notices.on("storageFailed", (fact) => errnos.push(fact.errno));
  const disk: { fault: Error | undefined; probes: number } = { fault: undefined, probes: 0 };
  const health = new DiskHealth({
    clock,
    notices,
    async probe() {
      disk.probes += 1;
      if (disk.fault !== undefined) throw disk.fault;
    },
  });
  const end = health.observe(notices);
  return { clock, notices, warnings, healed, errnos, disk, health, end };
}

test("one incident is one warning, however many pulls meet it, and every failure is counted", () => {
  const { health, warnings, errnos, clock } = scene();
  const since = clock.now();
  for (let pull = 0; pull < 20; pull += 1) health.failed(errno("ENOSPC"));
  assert.equal(warnings.length, 1);
  assert.equal(errnos.length, 20);
  assert.ok(health.isResting);
  assert.deepEqual(
    { since: health.degraded?.since, errno: health.degraded?.errno, why: health.degraded?.why },
    { since, errno: "ENOSPC", why: "the disk is full" },
  );
});

test("after a rest a probe is written; when that works things are stored on trial, and then it is over", async () => {
  const { health, clock, disk, healed } = scene();
  disk.fault = errno("ENOSPC");
  health.failed(disk.fault);
  await clock.advance(4999);
  assert.equal(disk.probes, 0);
  await clock.advance(1);
  assert.equal(disk.probes, 1);
  assert.ok(health.isResting, "the probe failed");
  await clock.advance(9999);
  assert.equal(disk.probes, 1, "the second rest is longer");
  disk.fault = undefined;
  await clock.advance(1);
  assert.equal(health.isResting, false);
  assert.notEqual(health.degraded, undefined, "on trial it is not over");
  await clock.advance(10_000);
  assert.equal(health.degraded, undefined);
  assert.deepEqual(
    healed.map(({ durationMs, failures }) => ({ durationMs, failures })),
    [{ durationMs: 25_000, failures: 2 }],
  );
  assert.equal(clock.pending, 0);
});

test("what is stored on trial ends it, and what fails on trial is still the same incident", async () => {
  const { health, clock, notices, warnings, healed } = scene();
  const fill = { upstream: "docker.io", digest: "sha256:0", durationMs: 1 };
  health.failed(errno("EIO"));
  notices.emit("fillEnded", { ...fill, bytes: 1, failure: undefined });
  assert.ok(health.isResting, "one that ran meanwhile proves nothing");
  await clock.advance(5000);
  health.failed(errno("EIO"));
  assert.ok(health.isResting);
  await clock.advance(10_000);
  assert.equal(health.isResting, false);
  notices.emit("fillEnded", { ...fill, bytes: 0, failure: undefined });
  notices.emit("fillEnded", { ...fill, bytes: 1, failure: new Failure("unreachable", "gone") });
  assert.equal(healed.length, 0);
  notices.emit("fillEnded", { ...fill, bytes: 1, failure: undefined });
  assert.equal(healed.length, 1);
  assert.equal(warnings.length, 1);
  assert.equal(clock.pending, 0);
});

test("rests grow to a minute and no longer", async () => {
  const { health, clock, disk } = scene();
  disk.fault = errno("EROFS");
  health.failed(disk.fault);
  await clock.advance(5000 + 10_000 + 20_000 + 40_000);
  assert.equal(disk.probes, 4);
  await clock.advance(60_000 * 3);
  assert.equal(disk.probes, 7);
});

test("trouble that others tell of counts where the disk is its cause, and damage of a single file does not", () => {
  const { health, notices, warnings } = scene();
  notices.emit("storageTrouble", { message: "stored manifest no longer matches its digest", cause: undefined });
  notices.emit("storageTrouble", { message: "odd", cause: new Failure("storage", "the stored blob is shorter") });
  assert.equal(health.degraded, undefined);
  const cause = new Failure("storage", "cannot read a stored blob", { cause: errno("EIO") });
  notices.emit("storageTrouble", { message: "a stored manifest cannot be read", cause });
  assert.equal(warnings[0]?.errno, "EIO");
});

test("a stopped mirror probes no more, and leaves no timer", async () => {
  const { health, clock, disk, end } = scene();
  health.failed(errno("EIO"));
  end();
  await health.stop();
  assert.equal(clock.pending, 0);
  await clock.advance(60_000);
  assert.equal(disk.probes, 0);
  health.failed(errno("EIO"));
  assert.equal(clock.pending, 0);
});

const sqlite = (errcode: number, message: string) =>
  Object.assign(new Error(message), { code: "ERR_SQLITE_ERROR", errcode });

const FAULTS: readonly (readonly [title: string, error: unknown, errno: string | undefined])[] = [
  ["a system error", errno("EMFILE"), "EMFILE"],
  ["the cause of a failure", new Failure("storage", "cannot write", { cause: errno("EROFS") }), "EROFS"],
  [
    "the text alone, as it crosses processes",
    new Failure("storage", "cannot write: ENOSPC: no space, write"),
    "ENOSPC",
  ],
  ["a full index", sqlite(13, "database or disk is full"), "SQLITE_FULL"],
  ["an extended code of the index", sqlite(778, "disk I/O error"), "SQLITE_IOERR"],
  ["the index's text alone", new Error("attempt to write a readonly database"), "SQLITE_READONLY"],
  ["anything else of the index", sqlite(1, "no such table"), "SQLITE"],
  ["an upstream's trouble", errno("ECONNRESET"), undefined],
  ["a bug", new TypeError("x is not a function"), undefined],
  ["nothing", undefined, undefined],
];

for (const [title, error, expected] of FAULTS) {
  test(`the disk's fault is found in: ${title}`, () => assert.equal(findDiskFault(error)?.errno, expected));
}
