/** Lists age by the same policy as tags: fresh from memory, old ones refreshed, older ones only when the upstream fails. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { Absences } from "../../src/mirror/absences.ts";
import { type AgedPage, AgedPages } from "../../src/mirror/aged.ts";
import type { Caller } from "../../src/mirror/caller.ts";
import type { Absence, ListPage } from "../../src/upstream/upstream.ts";
import { ManualClock } from "../kit/clock.ts";
import { POLICY, recorded, routeOf } from "./parts.ts";

/** Longer than any trouble is remembered. */
const REST_MS = 60_000;
const caller: Caller = { signal: new AbortController().signal };
const pageOf = (text: string): ListPage => ({
  bytes: Buffer.from(text),
  mediaType: "application/json",
  nextQuery: undefined,
  filtersApplied: undefined,
});

function scene() {
  const clock = new ManualClock();
  const { notices, facts } = recorded("staleServed");
  const absences = new Absences(clock);
  const pages = new AgedPages({ absences, clock, notices, signal: new AbortController().signal });
  let asked = 0;
  let next: () => Promise<ListPage | Absence> = async () => pageOf("first");
  const fetch = () => {
    asked += 1;
    return next();
  };
  return {
    clock,
    pages,
    staleServed: facts,
    asked: () => asked,
    answerWith: (answer: () => Promise<ListPage | Absence>) => {
      next = answer;
    },
    find: (what = "tags?", route = routeOf(), who = caller) => {
      const upstream = { ...route.source.upstream, listTags: fetch };
      const question = { of: "tags", query: what.replace("tags?", "") } as const;
      return pages.find({ ...route, source: { ...route.source, upstream } }, question, who);
    },
  };
}

function page(found: AgedPage | { absence: Absence }): AgedPage {
  assert.ok("page" in found);
  return found;
}

test("the first answer is a miss, and the next one comes from memory with its age", async () => {
  const { find, clock, asked } = scene();
  const first = page(await find());
  assert.deepEqual(first.verdict, { cache: "miss", stored: true, stale: false });
  assert.equal(first.ageMs, 0);
  clock.jump(60_000);
  const second = page(await find());
  assert.deepEqual(second.verdict, { cache: "hit", ttlMs: POLICY.tags - 60_000 });
  assert.equal(second.ageMs, 60_000);
  assert.equal(second.page.bytes.toString(), "first");
  assert.equal(asked(), 1);
});

test("pages of other lists, repositories and upstreams are other pages", async () => {
  const { find, asked } = scene();
  await find("tags?");
  await find("tags?n=5");
  await find("tags?", routeOf("ghcr.io"));
  await find("tags?", routeOf("docker.io", "library/debian"));
  assert.equal(asked(), 4);
});

test("an old page is served at once and refreshed behind", async () => {
  const { find, clock, asked, answerWith, pages, staleServed } = scene();
  await find();
  clock.jump(POLICY.tags);
  const second = Promise.withResolvers<ListPage>();
  answerWith(() => second.promise);
  const old = page(await find());
  assert.deepEqual(old.verdict, { cache: "stale", ttlMs: 0, reason: "refreshing" });
  assert.equal(old.page.bytes.toString(), "first");
  assert.ok(old.warning);
  await find();
  assert.equal(asked(), 2);
  second.resolve(pageOf("second"));
  await pages.settled();
  const fresh = page(await find());
  assert.equal(fresh.page.bytes.toString(), "second");
  assert.equal(fresh.verdict.cache, "hit");
  assert.deepEqual(staleServed[0], { upstream: "docker.io", reason: "refreshing" });
});

test("a page past the refresh window waits for the upstream", async () => {
  const { find, clock, answerWith } = scene();
  await find();
  clock.jump(POLICY.staleWhileRevalidate);
  answerWith(async () => pageOf("second"));
  const found = page(await find());
  assert.equal(found.page.bytes.toString(), "second");
  assert.deepEqual(found.verdict, { cache: "miss", stored: true, stale: true });
});

test("when the upstream fails an old page is served with the reason, until it is too old", async () => {
  const { find, clock, answerWith, staleServed } = scene();
  await find();
  clock.jump(POLICY.staleWhileRevalidate);
  let ttlMs = POLICY.tags - POLICY.staleWhileRevalidate;
  for (const [kind, reason] of [
    ["unreachable", "unreachable"],
    ["limited", "limited"],
    ["refused", "other"],
    ["corrupt", "other"],
  ] as const) {
    answerWith(() => Promise.reject(new Failure(kind, `it is ${kind}`)));
    const found = page(await find());
    assert.equal(found.page.bytes.toString(), "first");
    assert.deepEqual(found.verdict, { cache: "stale", ttlMs, reason });
    ttlMs -= REST_MS;
    assert.equal(found.warning, `it is ${kind}`);
    assert.equal(staleServed.at(-1)?.reason, reason);
    // For a while it is not asked again.
    clock.jump(REST_MS);
  }
  clock.jump(POLICY.staleIfError);
  await assert.rejects(find(), (error) => isFailure(error, "corrupt"));
});

test("with nothing held a failure of the upstream is a failure, and the next call asks again", async () => {
  const { find, answerWith, asked } = scene();
  answerWith(() => Promise.reject(new Failure("unreachable", "down")));
  await assert.rejects(find(), (error) => isFailure(error, "unreachable"));
  answerWith(async () => pageOf("there"));
  assert.equal(page(await find()).page.bytes.toString(), "there");
  assert.equal(asked(), 2);
});

test("a bug is not covered up with an old page", async () => {
  const { find, clock, answerWith } = scene();
  await find();
  clock.jump(POLICY.staleWhileRevalidate);
  answerWith(() => Promise.reject(new TypeError("a bug")));
  await assert.rejects(find(), TypeError);
});

test("many who ask at once ask the upstream once, and all but one are told that they joined", async () => {
  const { find, answerWith, asked } = scene();
  const work = Promise.withResolvers<ListPage>();
  answerWith(() => work.promise);
  const all = [find(), find(), find()];
  work.resolve(pageOf("one"));
  const found = (await Promise.all(all)).map((answer) => page(answer).verdict.cache);
  assert.deepEqual(found, ["miss", "joined", "joined"]);
  assert.equal(asked(), 1);
});

test("a caller that leaves is let go, and the others get their page", async () => {
  const { find, answerWith } = scene();
  const work = Promise.withResolvers<ListPage>();
  answerWith(() => work.promise);
  const leaving = new AbortController();
  const gone = find("tags?", routeOf(), { signal: leaving.signal });
  const stays = find();
  leaving.abort(new Error("left"));
  await assert.rejects(gone, /left/);
  work.resolve(pageOf("one"));
  assert.equal(page(await stays).page.bytes.toString(), "one");
});

test("what the upstream has not is believed for a while, and asked for again after it", async () => {
  const { find, clock, answerWith, asked } = scene();
  answerWith(async () => ({ absent: "unknown" }));
  assert.deepEqual((await find()).verdict, { cache: "absent", remembered: false });
  assert.deepEqual((await find()).verdict, { cache: "absent", remembered: true });
  assert.equal(asked(), 1);
  clock.jump(POLICY.notFound);
  answerWith(async () => pageOf("there now"));
  assert.equal(page(await find()).page.bytes.toString(), "there now");
});

test("a page that the upstream no longer has is not served again when its absence is forgotten", async () => {
  const { find, clock, answerWith, pages } = scene();
  await find();
  clock.jump(POLICY.tags);
  answerWith(async () => ({ absent: "unknown" }));
  await find();
  await pages.settled();
  assert.ok("absence" in (await find()));
  clock.jump(POLICY.notFound);
  assert.ok("absence" in (await find()), "the upstream has said twice that it has no such list");
});

test("what cannot be confirmed is served without asking again for a while, and then asked for", async () => {
  const { find, clock, asked, answerWith } = scene();
  await find();
  clock.jump(POLICY.staleWhileRevalidate);
  answerWith(() => Promise.reject(new Failure("limited", "too many", { retryAfterMs: 120_000 })));
  for (let at = 0; at < 50; at++) assert.equal(page(await find()).warning, "too many");
  assert.equal(asked(), 2);
  clock.jump(120_000);
  answerWith(async () => pageOf("second"));
  assert.equal(page(await find()).page.bytes.toString(), "second");
});

test("an account without pulls is asked for a list, which costs none", async () => {
  const { find, clock, asked } = scene();
  const route = routeOf();
  const closedUntil = clock.now() + POLICY.staleWhileRevalidate + 60_000;
  const view = { limit: 100, remaining: 0, windowMs: 21_600_000, saidAt: clock.now(), closedUntil, source: undefined };
  const limited = { ...route, source: { ...route.source, upstream: { ...route.source.upstream, budget: () => view } } };
  page(await find("tags?", limited));
  clock.jump(POLICY.staleWhileRevalidate);
  assert.equal(page(await find("tags?", limited)).verdict.cache, "miss");
  assert.equal(asked(), 2);
});

test("a client's patience with the upstream ends after two seconds, where something is held", async () => {
  const { find, clock, answerWith } = scene();
  await find();
  clock.jump(POLICY.staleWhileRevalidate);
  const work = Promise.withResolvers<ListPage>();
  answerWith(() => work.promise);
  const waiting = find();
  await clock.advance(2000);
  const found = page(await waiting);
  assert.equal(found.verdict.cache === "stale" && found.verdict.reason, "unreachable");
  work.resolve(pageOf("second"));
  await clock.advance(0);
  assert.equal(page(await find()).page.bytes.toString(), "second");
  assert.equal(clock.pending, 0);
});
