/** With few pulls left: changes are taken over whole or not at all, what is stored is believed longer, a part is kept for misses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { type Scene, withScene } from "./limited-upstream.ts";
import { POLICY } from "./parts.ts";

/** What a client for amd64 has of it. */
const pulledOf = ({ index, amd64 }: { index: string; amd64: string }) => ({ index, amd64 });
const tagsFrom1 = (count: number) => Array.from({ length: count }, (_, at) => String(at + 1));

/** Tags of version 1, pulled, and then so old that they are asked for before they are served; nothing counted yet. */
async function pulled(scene: Scene, count: number): Promise<string[]> {
  const tags = tagsFrom1(count);
  scene.upstream.left = 1000;
  for (const tag of tags) scene.publish(tag, 1);
  for (const tag of tags) await scene.pull(tag);
  scene.clock.jump(POLICY.staleWhileRevalidate);
  scene.upstream.asked.length = 0;
  scene.upstream.left = 100;
  return tags;
}

test("a tag moves when the manifests of those platforms are here that were here before, and not earlier", () =>
  withScene(async (scene) => {
    const { upstream, clock } = scene;
    const [old] = [scene.publish("1", 1)];
    await scene.pull("1");
    clock.jump(POLICY.tags);
    upstream.asked.length = 0;
    const now = scene.publish("1", 2);
    const gate = Promise.withResolvers<void>();
    upstream.gate = gate.promise;
    const running = scene.refresh("1");
    assert.deepEqual(await scene.pull("1"), pulledOf(old));
    gate.resolve();
    assert.equal(await running, undefined);
    const gets = upstream.count("GET");
    assert.deepEqual(await scene.pull("1"), pulledOf(now));
    assert.equal(upstream.count("GET"), gets);
    assert.deepEqual(upstream.asked.slice(1).sort(), [`GET ${now.index} refresh`, `GET ${now.amd64} refresh`].sort());
  }));

test("a change that the budget does not cover is not begun, and the old image is served whole", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    scene.clock.jump(24 * POLICY.tags);
    scene.upstream.left = 11;
    const now = scene.publish("1", 2);
    const failure = await scene.refresh("1");
    assert.match(String(failure?.message), /^docker\.io: 11 of 100 pulls left; asked again in 15 min$/);
    const answer = await scene.get("1");
    assert.notEqual(answer.digest, now.index);
    assert.equal(answer.verdict.cache === "stale" && answer.verdict.reason, "limited");
    assert.equal(answer.warning, failure?.message);
    assert.notEqual((await scene.pull("1")).amd64, now.amd64);
    assert.equal(scene.upstream.count("GET"), 0);
  }));

test("of many that change at once as many are taken over as the budget covers, and the reserve stays", () =>
  withScene(async (scene) => {
    const tags = await pulled(scene, 15);
    scene.clock.jump(24 * POLICY.tags);
    for (const tag of tags) scene.publish(tag, 2);
    scene.upstream.left = 31;
    const outcomes = await Promise.all(tags.map((tag) => scene.refresh(tag)));
    assert.equal(outcomes.filter((failure) => failure === undefined).length, 10);
    assert.equal(scene.upstream.left, 11);
    for (const tag of tags) await scene.pull(tag);
    assert.equal(scene.upstream.left, 11);
    assert.equal(scene.upstream.count("GET"), 20);
  }));

test("with plenty left a HEAD that finds a change costs no pull, and its client finds all of it", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    const now = scene.publish("1", 2);
    assert.equal((await scene.head("1")).digest, now.index);
    assert.equal(scene.upstream.count("GET"), 0);
    assert.deepEqual(await scene.pull("1"), pulledOf(now));
    assert.equal(scene.upstream.count("GET"), 2);
  }));

test("with few left a HEAD is told of a change when its content is here, or not at all", () =>
  withScene(async (scene) => {
    const [, other = ""] = await pulled(scene, 2);
    scene.clock.jump(24 * POLICY.tags);
    const now = scene.publish("1", 2);
    scene.upstream.left = 40;
    assert.equal((await scene.head("1")).digest, now.index);
    assert.equal(scene.upstream.count("GET"), 2);
    const next = scene.publish(other, 2);
    scene.upstream.left = 11;
    const answer = await scene.head(other);
    assert.notEqual(answer.digest, next.index);
    assert.equal(answer.verdict.cache, "stale");
    assert.notEqual((await scene.pull(other)).index, next.index);
    assert.equal(scene.upstream.count("GET"), 2);
  }));

test("a burst of HEADs is not promised more than there is", () =>
  withScene(async (scene) => {
    const tags = await pulled(scene, 60);
    for (const tag of tags) scene.publish(tag, 2);
    await Promise.all(tags.map((tag) => scene.head(tag)));
    const before = scene.upstream.count("GET");
    // 25 were told of two pulls each, which is half of the limit; of the others as many were taken over as fit beside that.
    assert.equal(before, 40);
    for (const tag of tags) await scene.pull(tag);
    assert.ok(scene.upstream.left >= 10, String(scene.upstream.left));
    scene.clock.jump(60_000);
    for (const tag of tags) await scene.pull(tag);
  }));

test("what is stored is believed longer as the budget shrinks, and no request says so", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    scene.upstream.left = 12;
    const answer = await scene.get("1");
    assert.equal(answer.verdict.cache === "stale" && answer.verdict.reason, "limited");
    assert.match(answer.warning ?? "", /^docker\.io: 12 of 100 pulls left; asked again in \d+ (s|min)$/);
    for (let at = 0; at < 20; at++) {
      await scene.get("1");
      await scene.head("1");
    }
    assert.equal(scene.upstream.asked.length, 0);
    scene.clock.jump(24 * POLICY.tags);
    assert.equal((await scene.get("1")).verdict.cache, "revalidated");
    assert.deepEqual(scene.upstream.asked, ["HEAD 1 refresh"]);
  }));

test("the reserve is for what is not stored", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    scene.clock.jump(24 * POLICY.tags);
    scene.upstream.left = 5;
    scene.upstream.saidAt = scene.clock.now();
    assert.equal((await scene.get("1")).verdict.cache, "stale");
    assert.equal(scene.upstream.asked.length, 0);
    const cold = scene.publish("2", 1);
    assert.deepEqual(await scene.pull("2"), pulledOf(cold));
    assert.equal(scene.upstream.left, 3);
    assert.deepEqual(
      scene.upstream.asked.map((line) => line.split(" ").at(-1)),
      ["miss", "miss", "miss"],
    );
  }));

test("with nothing left what is stored is served, and what is not says when to come again", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    scene.clock.jump(POLICY.staleIfError / 2);
    scene.upstream.left = 0;
    scene.upstream.closedUntil = scene.clock.now() + 3_600_000;
    await scene.pull("1");
    scene.publish("2", 1);
    const limited = (error: unknown) => isFailure(error, "limited") && error.retryAfterMs === 3_600_000;
    await assert.rejects(scene.pull("2"), limited);
    assert.equal(scene.upstream.asked.length, 0);
  }));

test("what is half here costs only what is missing", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    scene.clock.jump(24 * POLICY.tags);
    const now = scene.publish("1", 2);
    scene.upstream.left = 41;
    await scene.get(now.index);
    scene.upstream.left = 11;
    assert.equal(await scene.refresh("1"), undefined);
    assert.deepEqual(await scene.pull("1"), pulledOf(now));
    assert.equal(scene.upstream.count("GET"), 2);
  }));

test("what costs more than the limit is taken over in several windows, and the tag moves at the end", () =>
  withScene(async (scene) => {
    const [old] = [scene.publish("1", 1)];
    await scene.pull("1");
    for (const digest of [old.arm64]) await scene.get(digest);
    scene.upstream.limit = 2;
    const now = scene.publish("1", 2);
    for (const pulls of [2, 1]) {
      scene.clock.jump(POLICY.staleWhileRevalidate);
      scene.upstream.left = 2;
      const before = scene.upstream.count("GET");
      if (pulls === 2) assert.equal((await scene.refresh("1"))?.kind, "limited");
      else assert.equal(await scene.refresh("1"), undefined);
      assert.equal(scene.upstream.count("GET") - before, pulls);
      assert.equal((await scene.head("1")).digest, pulls === 2 ? old.index : now.index);
    }
  }));

test("what there is no room for is not told of, and its platforms are not asked for", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    scene.clock.jump(24 * POLICY.tags);
    const now = scene.publish("1", 2);
    scene.upstream.left = 40;
    scene.limits.maxBytes = 1;
    scene.clock.jump(2000);
    const answer = await scene.head("1");
    assert.notEqual(answer.digest, now.index);
    assert.equal(answer.verdict.cache, "stale");
    assert.deepEqual(scene.upstream.asked, ["HEAD 1 refresh", `GET ${now.index} refresh`]);
  }));

test("too old to be served stale, a tag is asked for whatever it costs", () =>
  withScene(async (scene) => {
    await pulled(scene, 1);
    scene.clock.jump(POLICY.staleIfError);
    scene.upstream.left = 3;
    const now = scene.publish("1", 2);
    assert.deepEqual(await scene.pull("1"), pulledOf(now));
  }));
