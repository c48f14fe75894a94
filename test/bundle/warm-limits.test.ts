/** What upstreams allow is spent on who waits first: warming leaves the reserve, says what it waits for, and gives up in time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ApiEvent } from "../../src/api/operation.ts";
import { isFailure } from "../../src/base/failure.ts";
import { LimitWaits, pullWaitMs, retryWaitMs } from "../../src/bundle/warm-limits.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import { parseTag } from "../../src/oci/reference.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";
import { ManualClock } from "../kit/clock.ts";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";
import { routeOf } from "../mirror/parts.ts";
import { sharedIndex, type Warming, warm, warmEvents } from "./warming.ts";

const needsClock = testInOneProcess("needs this process's clock");
const HOUR = 3_600_000;
const WINDOW_SECONDS = 21_600;

async function limited(
  left: number,
  run: (stage: { upstream: TestUpstream; mirror: TestMirror; clock: ManualClock }) => Promise<void>,
  windowSeconds = WINDOW_SECONDS,
) {
  const clock = new ManualClock();
  const pullLimit = { limit: 20, windowSeconds, now: () => clock.now() };
  await using upstream = await TestUpstream.start({ pullLimit });
  upstream.shelves.add("library/demo", sharedIndex(1, 100), "1");
  upstream.shelves.add("library/demo", sharedIndex(2, 100), "2");
  upstream.shelves.add("library/known", makeImage({ seed: 3, layers: [10] }), "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, clock });
  upstream.countPulls(20 - left - 1);
  // The first answer tells what is left.
  assert.equal((await get(`${mirror.url}/v2/library/known/manifests/1`)).status, 200);
  await run({ upstream, mirror, clock });
}

needsClock(
  "the reserve is left to clients; without patience the image has failed, and says how many pulls are left",
  async () => {
    await limited(4, async ({ upstream, mirror, clock }) => {
      const { summary } = await clock.during(warm(mirror, { references: ["demo:1", "demo:2"], wait: "0" }));
      assert.deepEqual(
        summary.failed.map(({ kind }) => kind),
        ["limited", "limited"],
      );
      assert.match(summary.failed[0]?.message ?? "", /docker\.io: 2 of 20 pulls left/);
      assert.equal(upstream.pullsUsed, 18);
      assert.equal((await get(`${mirror.url}/v2/library/demo/manifests/2`)).status, 200);
    });
  },
);

needsClock("with patience it says what it waits for, and goes on when the window has turned", async () => {
  await limited(
    4,
    async ({ mirror, clock }) => {
      const waiting: unknown[] = [];
      let done: ApiEvent | undefined;
      let isWaiting = false;
      const started = clock.now();
      const work = (async () => {
        const references = ["demo:1", "demo:2"];
        for await (const event of warmEvents(mirror, { references, wait: "12h" }, new AbortController().signal)) {
          if (event.event === "done") done = event;
          const running = (Reflect.get(event, "running") ?? []) as { waiting?: object }[];
          isWaiting = running.length > 0 && running.every((image) => image.waiting !== undefined);
          if (isWaiting) waiting.push(running[0]?.waiting);
        }
      })();
      while (done === undefined) {
        await clock.advance(isWaiting ? 60_000 : 50);
        isWaiting = false;
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      await work;
      assert.equal(Reflect.get((done as { result?: object }).result ?? {}, "failed").length, 0);
      assert.ok(clock.now() - started >= 30_000, `${clock.now() - started} ms`);
      assert.deepEqual(waiting[0], { ...(waiting[0] as object), what: "docker.io's limit" });
    },
    60,
  );
});

test("an upstream that answers 429 is waited for as long as it says, and given up where that is too long", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage({ seed: 4 }), "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  upstream.fault({ kind: "manifest" }, { status: 429, retryAfter: "3600" }, { times: 5 });
  const { summary } = await warm(mirror, { references: ["demo:1"] });
  assert.deepEqual(
    summary.failed.map(({ kind }) => kind),
    ["limited"],
  );
});

test("an upstream that is away stops its own images soon, and nobody else's", async () => {
  await using away = await TestUpstream.start();
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("team/demo", makeImage({ seed: 5 }), "1");
  const clock = new ManualClock();
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": away, "ghcr.io": upstream },
    config: { workers: 1 },
    clock,
  });
  await away.close();
  const references = [...Array.from({ length: 30 }, (_, at) => `demo:${at}`), "ghcr.io/team/demo:1"];
  const { summary }: Warming = await clock.during(warm(mirror, { references }));
  assert.equal(summary.failed.length, 30);
  assert.ok(summary.failed.every(({ kind }) => kind === "unreachable"));
  const unasked = summary.failed.filter(({ message }) => message.includes("was not asked"));
  assert.ok(unasked.length >= 24, `${unasked.length}`);
});

test("a blob that breaks is asked for again, and one that stays broken fails its image", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ seed: 6, layers: [300_000] });
  upstream.shelves.add("library/demo", image, "1");
  const clock = new ManualClock();
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    config: { workers: 1 },
    clock,
  });
  const layer = { kind: "blob", reference: image.layers[0]?.digest ?? "" } as const;
  upstream.fault(layer, { flipAtByte: 299_990 }, { times: 1 });
  assert.deepEqual((await clock.during(warm(mirror, { references: ["demo:1"] }))).summary.failed, []);
  const other = makeImage({ seed: 7, layers: [300_000] });
  upstream.shelves.add("library/demo", other, "2");
  upstream.fault({ kind: "blob", reference: other.layers[0]?.digest ?? "" }, { flipAtByte: 1000 });
  const { summary } = await clock.during(warm(mirror, { references: ["demo:2"] }));
  assert.deepEqual(
    summary.failed.map(({ kind }) => kind),
    ["corrupt"],
  );
  assert.deepEqual(await mirror.partials(), []);
});

test("pulls that nobody waits for are made from what is above the reserve", () => {
  const now = 1_000_000;
  const left = (remaining: number | undefined, closedUntil = 0) =>
    pullWaitMs({ limit: 100, remaining, windowMs: 6 * HOUR, saidAt: now, closedUntil }, now);
  assert.equal(left(11), 0);
  assert.equal(left(10), HOUR / 4);
  assert.equal(left(undefined), 0);
  assert.equal(left(50, now + 5000), 5000);
  assert.equal(pullWaitMs(undefined, now), 0);
  const unlimited = { limit: undefined, remaining: undefined, windowMs: undefined, saidAt: undefined, closedUntil: 0 };
  assert.equal(pullWaitMs(unlimited, now), 0);
  assert.equal(pullWaitMs({ limit: 10, remaining: 0, windowMs: 60_000, saidAt: now, closedUntil: 0 }, now), 60_000);
});

test("waits between attempts grow, and differ", () => {
  assert.deepEqual(
    [retryWaitMs(1, 0), retryWaitMs(1, 1), retryWaitMs(2, 0), retryWaitMs(2, 1)],
    [1000, 2000, 4000, 8000],
  );
});

test("patience is of a run and not of each image: what was waited for in vain is not waited for again", async () => {
  const clock = new ManualClock();
  const { signal } = new AbortController();
  const limits = new LimitWaits({ clock, patienceMs: HOUR / 4, signal });
  const plain = routeOf();
  let heads = 0;
  const upstream: Upstream = {
    ...plain.source.upstream,
    budget: () => ({ limit: 100, remaining: 5, windowMs: 6 * HOUR, saidAt: 0, closedUntil: 0, source: undefined }),
    headManifest: async () => {
      heads += 1;
      return { absent: "unknown" };
    },
  };
  const route = makeRoute({ ...plain.source, upstream }, plain.repository);
  const wait = () => limits.forPull(route, { type: "tag", tag: parseTag("1") });
  const first = wait();
  first.catch(() => {});
  await clock.advance(HOUR / 8);
  assert.equal(limits.leftMs(route.upstream), HOUR / 8);
  await clock.advance(HOUR / 8);
  await assert.rejects(first, (error) => isFailure(error, "limited"));
  await assert.rejects(wait(), (error) => isFailure(error, "limited"));
  assert.equal(limits.leftMs(route.upstream), undefined);
  assert.deepEqual([heads, clock.pending], [1, 0]);
  // After a while without a refusal it is waited for again.
  await clock.advance(HOUR / 2);
  const again = wait();
  again.catch(() => {});
  await clock.advance(0);
  assert.equal(clock.pending, 1);
  await clock.advance(HOUR / 4);
  await assert.rejects(again);
});
