/** What is stored is counted before more is stored, where the index was lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openIndex, type Recovery } from "../../src/meta/recovery.ts";
import { Capacity } from "../../src/mirror/capacity.ts";
import { IndexCare } from "../../src/upkeep/indexcare.ts";
import { makeTempDir } from "../kit/temp.ts";
import { digest } from "../meta/rooms.ts";
import { openTruthScene, putMany } from "./scrub-scene.ts";

const some = { digest: digest("some"), upstream: "docker.io" };
const lost: Recovery = { reason: "missing", aside: undefined, restoredFrom: undefined, inMemory: false };

/** What becomes of a newcomer before, during and after the count. */
async function admitted(recovery: Recovery | undefined, isComparable = true): Promise<(string | undefined)[]> {
  await using scene = await openTruthScene();
  await using dir = await makeTempDir("indexcare");
  await putMany(scene, 30);
  const index = openIndex(dir.path, false);
  const stopping = new AbortController();
  const capacity = new Capacity({ ...scene, limits: { maxBytes: 1e9, minFreeBytes: 0 } });
  const ended = Promise.withResolvers<void>();
  scene.notices.on("indexReconciled", () => ended.resolve());
  scene.notices.on("backgroundFailed", () => ended.resolve());
  if (!isComparable) scene.inventory.sizesBetween = () => assert.fail("no row can be read");
  const care = new IndexCare({
    ...scene,
    capacity,
    signal: stopping.signal,
    config: { offline: false, cache: { minFree: 0 } },
    index: { ...index, recovery, reconcileDue: true },
  });
  try {
    const before = await capacity.findRefusal(10, some);
    care.start();
    const during = await capacity.reserve(10, some);
    await ended.promise;
    await new Promise((resolve) => setImmediate(resolve));
    const after = await capacity.reserve(10, some);
    return [before, during, after].map((answer) => (typeof answer === "string" ? answer : undefined));
  } finally {
    stopping.abort();
    await care.stop();
    index.close();
  }
}

test("nothing new is stored before what a lost index knew has been counted", async () => {
  assert.deepEqual(await admitted(lost), ["uncounted", "uncounted", undefined]);
});

test("where it cannot be counted, that is over too", async () => {
  assert.deepEqual(await admitted(lost, false), ["uncounted", "uncounted", undefined]);
});

test("an index that ended badly, or came back from its backup, knows enough to go on with", async () => {
  assert.deepEqual(await admitted(undefined), [undefined, undefined, undefined]);
  assert.deepEqual(await admitted({ ...lost, restoredFrom: 1 }), [undefined, undefined, undefined]);
});
