/** Checks behind serving: what is due, how many wait, and that a stop is prompt. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Usage } from "../../src/meta/usage.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { Truth } from "../../src/upkeep/truth.ts";
import type { Verifier } from "../../src/upkeep/verify.ts";
import { isDue, ServedChecks } from "../../src/upkeep/verify-served.ts";
import { flip, openTruthScene, putMany, type TruthScene } from "./scrub-scene.ts";

const DAY = 24 * 60 * 60_000;

function checksOf(scene: TruthScene, signal = new AbortController().signal) {
  const looked: Digest[] = [];
  const verifier = {
    look: async (...asked: Parameters<Verifier["look"]>) => {
      looked.push(asked[1]);
      return await scene.verifier.look(...asked);
    },
  };
  return { looked, checks: new ServedChecks({ ...scene, verifier, bandwidth: null, signal }) };
}

async function done(scene: TruthScene, checks: ServedChecks): Promise<void> {
  while (checks.waiting > 0) {
    await scene.clock.advance(1000);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

test("a blob is due a month after it was last read, or where a wrong clock wrote that down", () => {
  const now = Date.UTC(2026, 5, 1);
  assert.equal(isDue(now - 29 * DAY, now), false);
  assert.equal(isDue(now - 31 * DAY, now), true);
  assert.equal(isDue(0, now), true);
  assert.equal(isDue(now + 60_000, now), false);
  assert.equal(isDue(now + 365 * DAY, now), true);
});

test("what is served and was not read for a month is read once, and then not for another month", async () => {
  await using scene = await openTruthScene();
  const [first = "" as Digest, second = "" as Digest] = await putMany(scene, 3);
  const { looked, checks } = checksOf(scene);
  checks.used([first, second]);
  assert.equal(checks.waiting, 0, "they were verified when they were stored");
  scene.clock.jump(31 * DAY);
  const later = checksOf(scene);
  later.checks.used([first]);
  later.checks.used([first, second]);
  await done(scene, later.checks);
  assert.deepEqual(later.looked, [first, second]);
  assert.equal(scene.verified.find(first)?.verifiedAt !== undefined, true);
  later.checks.used([first, second]);
  await done(scene, later.checks);
  assert.equal(later.looked.length, 2);
  assert.deepEqual(looked, []);
});

test("what is found damaged leaves the store", async () => {
  await using scene = await openTruthScene();
  const [digest = "" as Digest] = await putMany(scene, 1);
  await flip(scene.store.pathOf(digest));
  scene.clock.jump(31 * DAY);
  const { checks } = checksOf(scene);
  checks.used([digest]);
  await done(scene, checks);
  assert.equal(scene.store.has(digest), false);
  assert.equal(scene.damage[0]?.foundBy, "check");
});

test("a few hundred wait at most, and what has no row is not asked for", async () => {
  await using scene = await openTruthScene();
  const digests = await putMany(scene, 1);
  const many = Array.from({ length: 2000 }, (_, at) => `sha256:${at.toString(16).padStart(64, "0")}` as Digest);
  const { checks } = checksOf(scene);
  checks.used([...many, ...digests]);
  assert.equal(checks.waiting, 0);
  for (const digest of many) scene.inventory.addBlob(digest, 1, "", 0);
  scene.clock.jump(31 * DAY);
  const gate = Promise.withResolvers<never>();
  const stopping = new AbortController();
  stopping.signal.addEventListener("abort", () => gate.reject(stopping.signal.reason));
  const waiting = new ServedChecks({
    ...scene,
    verifier: { look: () => gate.promise },
    bandwidth: null,
    signal: stopping.signal,
  });
  waiting.used(many);
  assert.equal(waiting.waiting, 256);
  stopping.abort(new Error("stopped"));
  await waiting.stop();
});

test("the mirror's uses lead to checks, a scrub that was cut short goes on after a start, and a stop ends it all", async () => {
  await using scene = await openTruthScene();
  const [digest = "" as Digest, ...others] = await putMany(scene, 5);
  await assert.rejects(scene.newScrub().run({ bandwidth: null, signal: AbortSignal.abort(new Error("stopped")) }));
  scene.clock.jump(31 * DAY);
  const stopping = new AbortController();
  const config = { cache: { scrub: { schedule: "0 3 * * 0", bandwidth: null } } };
  const usage = new Usage(scene.database, scene.clock);
  const truth = new Truth({ ...scene, config, signal: stopping.signal });
  usage.onUsed = (digests) => truth.used(digests);
  usage.note(digest);
  usage.flush();
  const isRead = (one: Digest) => scene.clock.now() - (scene.verified.find(one)?.verifiedAt ?? 0) < DAY;
  const until = async (holds: () => boolean) => {
    for (let tries = 0; !holds() && tries < 1000; tries += 1) await new Promise((resolve) => setTimeout(resolve, 2));
    assert.ok(holds());
  };
  await until(() => isRead(digest));
  assert.equal(others.some(isRead), false);
  truth.start();
  assert.equal(typeof truth.moments.nextAt, "number");
  await scene.clock.advance(61_000);
  await until(() => others.every(isRead));
  await until(() => truth.moments.lastEndedAt !== undefined);
  stopping.abort(new Error("stopped"));
  await truth.stop();
  assert.equal(scene.clock.pending, 0);
});

test("a scrub whose time came while the mirror was off is made up for, a minute after a start", async () => {
  await using scene = await openTruthScene();
  await putMany(scene, 3);
  const config = { cache: { scrub: { schedule: "0 3 * * 0", bandwidth: null } } };
  const live = async (ms: number) => {
    const stopping = new AbortController();
    const truth = new Truth({ ...scene, config, signal: stopping.signal });
    truth.start();
    await scene.clock.advance(ms);
    // It reads in a thread of its own.
    await truth.scrub.report;
    stopping.abort(new Error("stopped"));
    await truth.stop();
    return truth.moments.lastEndedAt;
  };
  assert.equal(await live(120_000), undefined, "the first start is the beginning");
  scene.clock.jump(8 * DAY);
  assert.equal(await live(59_000), undefined);
  assert.notEqual(await live(61_000), undefined);
});

test("with no schedule nothing begins by itself", async () => {
  await using scene = await openTruthScene();
  await putMany(scene, 2);
  const stopping = new AbortController();
  const config = { cache: { scrub: { schedule: null, bandwidth: null } } };
  const truth = new Truth({ ...scene, config, signal: stopping.signal });
  truth.start();
  assert.equal(scene.clock.pending, 0);
  assert.deepEqual(truth.moments, { lastEndedAt: undefined, nextAt: undefined });
  await truth.stop();
});
