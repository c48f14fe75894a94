import assert from "node:assert/strict";
import { test } from "node:test";
import { failureOfBudget } from "../../../src/upstream/exchange/trouble.ts";
import { type Asked, RateBudget, RELOOK_MS, reopensIn, waitAfter } from "../../../src/upstream/limits/budget.ts";
import { ManualClock } from "../../kit/clock.ts";

const HEAD = { kind: "manifest", method: "HEAD" } as const;
const GET = { kind: "manifest", method: "GET" } as const;
const BLOB = { kind: "blob", method: "GET" } as const;
const WINDOW_MS = 21_600_000;

function hub(remaining: number, limit = 100) {
  return { "ratelimit-limit": `${limit};w=21600`, "ratelimit-remaining": `${remaining};w=21600` };
}

function scene() {
  const clock = new ManualClock();
  const budget = new RateBudget(clock, () => 0.5);
  const answer = (asked: Asked, status: number, headers: Record<string, string> = {}, errorBody = "") =>
    asked.answered({ status, headers, errorBody, now: clock.now() });
  const ask = (question: typeof HEAD | typeof GET | typeof BLOB, status: number, headers = {}, errorBody = "") =>
    answer(budget.begin(question), status, headers, errorBody);
  return { clock, budget, answer, ask };
}

test("an upstream that names no limit is never kept waiting for", () => {
  const { budget, ask } = scene();
  for (let i = 0; i < 50; i++) ask(GET, 200);
  for (let i = 0; i < 50; i++) budget.begin(GET);
  assert.equal(budget.waitMs(GET), 0);
  assert.equal(budget.view.remaining, undefined);
});

test("pulls on their way are taken off, and the last one that is left is not given twice", () => {
  const { budget, answer, ask } = scene();
  ask(HEAD, 200, hub(3));
  assert.equal(budget.view.remaining, 3);
  const running = [budget.begin(GET), budget.begin(GET), budget.begin(GET)];
  assert.equal(budget.view.remaining, 0);
  assert.ok(budget.waitMs(GET) > 0 && budget.waitMs(GET) <= 2000);
  assert.equal(budget.waitMs(HEAD), 0);
  assert.equal(budget.waitMs(BLOB), 0);
  // One was of an image that is not counted.
  answer(running[0] as Asked, 200, hub(1));
  answer(running[1] as Asked, 200, hub(2));
  assert.equal(budget.view.remaining, 0);
  answer(running[2] as Asked, 404);
  assert.equal(budget.view.remaining, 1);
  assert.equal(budget.waitMs(GET), 0);
});

test("an answer that was overtaken cannot bring back what is spent", () => {
  const { budget, answer } = scene();
  const [first, second] = [budget.begin(GET), budget.begin(GET)];
  answer(second, 200, hub(40));
  answer(first, 200, hub(41));
  assert.equal(budget.view.remaining, 40);
});

test("at zero neither HEAD nor GET of a manifest is sent until our own oldest pull leaves the window", async () => {
  const { clock, budget, ask } = scene();
  ask(GET, 200, hub(1, 2));
  await clock.advance(3_600_000);
  ask(GET, 200, hub(0, 2));
  assert.equal(budget.waitMs(HEAD), budget.waitMs(GET));
  assert.equal(budget.waitMs(GET), WINDOW_MS - 3_600_000 + 1000);
  assert.equal(budget.waitMs(BLOB), 0);
  assert.equal(budget.view.closedUntil, clock.now() + budget.waitMs(GET));
  await clock.advance(budget.waitMs(GET) - 1);
  assert.equal(budget.waitMs(GET), 1);
  await clock.advance(1);
  assert.equal(budget.waitMs(HEAD), 0);
  assert.equal(budget.view.remaining, undefined);
});

test("where others took part of it, it is looked for again every quarter of an hour, by one question at a time", async () => {
  const { clock, budget, answer, ask } = scene();
  ask(GET, 200, hub(0));
  assert.equal(budget.waitMs(HEAD), RELOOK_MS);
  for (let i = 0; i < 3; i++) {
    await clock.advance(RELOOK_MS);
    const probe = budget.begin(HEAD);
    assert.ok(budget.waitMs(HEAD) > 0 && budget.waitMs(HEAD) <= 2000);
    answer(probe, 200, hub(0));
    assert.equal(budget.waitMs(HEAD), RELOOK_MS);
  }
  await clock.advance(RELOOK_MS);
  budget.begin(HEAD).failed();
  assert.equal(budget.waitMs(HEAD), 0);
  ask(HEAD, 401);
  ask(HEAD, 200, hub(7));
  assert.equal(budget.view.remaining, 7);
});

test("Docker Hub's refusal without Retry-After closes manifests, with the window that was known", () => {
  const { budget, ask } = scene();
  ask(HEAD, 200, hub(60));
  ask(GET, 429, {}, '{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}');
  assert.equal(budget.waitMs(GET), RELOOK_MS);
  assert.equal(budget.waitMs(BLOB), 0);
  assert.deepEqual([budget.view.remaining, budget.view.limit], [0, 100]);
});

test("Retry-After is waited for in both its forms, by everything of the account", () => {
  for (const text of ["120", "Thu, 01 Jan 2026 00:02:00 GMT"]) {
    const { budget, ask } = scene();
    ask(HEAD, 429, { "retry-after": text });
    for (const question of [HEAD, GET, BLOB]) assert.equal(budget.waitMs(question), 120_000, text);
  }
});

test("an abuse limit doubles from a second to five minutes, one of several at once counting, and is forgotten by an answer", async () => {
  const { clock, budget, answer, ask } = scene();
  const herd = Array.from({ length: 20 }, () => budget.begin(BLOB));
  for (const asked of herd) answer(asked, 429, {}, "429 Too Many Requests");
  assert.equal(budget.waitMs(BLOB), 750);
  assert.equal(budget.waitMs(HEAD), 750);
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) {
    await clock.advance(budget.waitMs(BLOB));
    ask(BLOB, 429, {}, "<html><h1>429 Too Many Requests</h1></html>");
    waits.push(budget.waitMs(BLOB));
  }
  assert.deepEqual(waits.slice(0, 3), [1500, 3000, 6000]);
  assert.equal(waits.at(-1), 225_000);
  await clock.advance(225_000);
  const probe = budget.begin(BLOB);
  assert.ok(budget.waitMs(HEAD) > 0);
  answer(probe, 206);
  assert.equal(budget.waitMs(HEAD), 0);
  ask(BLOB, 429, {}, "429 Too Many Requests");
  assert.equal(budget.waitMs(BLOB), 750);
});

test("ECR's and GHCR's refusals are over in seconds", () => {
  for (const body of [
    "toomanyrequests: Rate exceeded",
    '{"errors":[{"message":"retry-after: 1.16ms, allowed: 44000/minute"}]}',
  ]) {
    const { budget, ask } = scene();
    ask(GET, 429, {}, body);
    assert.ok(budget.waitMs(GET) > 0 && budget.waitMs(GET) <= 250, body);
  }
});

test("pulls of which no answer came are taken for counted", () => {
  const { budget, ask } = scene();
  ask(HEAD, 200, hub(2));
  budget.begin(GET).failed();
  assert.equal(budget.view.remaining, 1);
  budget.begin(GET).failed();
  assert.equal(budget.waitMs(GET), RELOOK_MS);
});

test("a clock that is set back, or on by years, locks nothing", async () => {
  const { clock, budget, ask } = scene();
  ask(GET, 200, hub(0));
  ask(BLOB, 429, { "retry-after": "999999999" });
  assert.equal(budget.waitMs(BLOB), 86_400_000);
  clock.jump(-10 * 86_400_000);
  assert.equal(budget.waitMs(GET), 0);
  ask(BLOB, 200);
  ask(HEAD, 200, hub(0));
  assert.equal(budget.waitMs(GET), RELOOK_MS);
  clock.jump(3650 * 86_400_000);
  assert.equal(budget.waitMs(GET), 0);
  ask(GET, 200, hub(50));
  clock.jump(-86_400_000);
  assert.equal(budget.view.remaining, undefined);
});

test("what was said a window ago says nothing any more", async () => {
  const { clock, budget, ask } = scene();
  ask(HEAD, 200, hub(5));
  await clock.advance(WINDOW_MS);
  assert.equal(budget.view.remaining, undefined);
  assert.equal(budget.view.limit, 100);
});

test("a window that says when it turns is not looked at before", async () => {
  const { clock, budget, ask } = scene();
  ask(GET, 200, { "ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "7200" });
  assert.equal(budget.waitMs(HEAD), 7_200_000);
  await clock.advance(7_200_000);
  assert.equal(budget.waitMs(HEAD), 0);
});

test("waits are what was said, never less than the back-off where all is refused, at most a day", () => {
  const said = { limit: 2, remaining: 0, windowMs: 1000_000, resetMs: undefined, source: undefined };
  assert.equal(waitAfter({ of: "rate", waitMs: 1 }, 3, 0), 1000);
  assert.equal(waitAfter({ of: "pulls", waitMs: 5 }, 9, 0), 5);
  assert.equal(waitAfter({ of: "abuse", waitMs: undefined }, 1000, 1), 300_000);
  assert.equal(reopensIn(said, [0, 5], 100), 1000_900);
  assert.equal(reopensIn(said, [5], 100), RELOOK_MS);
  assert.equal(reopensIn({ ...said, windowMs: undefined }, [0, 5], 100), RELOOK_MS);
});

test("what is not asked says what is left and when it will be", () => {
  const { budget, ask } = scene();
  ask(GET, 200, hub(0));
  const failure = failureOfBudget("docker.io", budget.view, budget.waitMs(HEAD));
  assert.equal(failure.message, "docker.io: 0 of 100 pulls left; asked again in 15 min");
  assert.deepEqual([failure.kind, failure.retryAfterMs], ["limited", RELOOK_MS]);
});

test("a long wait that somebody else named is looked after every quarter of an hour, by one question", async () => {
  const { clock, budget, answer, ask } = scene();
  ask(BLOB, 429, { "retry-after": "86400" });
  assert.ok(budget.waitMs(HEAD) > RELOOK_MS);
  await clock.advance(RELOOK_MS);
  assert.equal(budget.waitMs(HEAD), 0);
  const look = budget.begin(HEAD);
  assert.ok(budget.waitMs(BLOB) > RELOOK_MS, "the others wait for it");
  look.failed();
  assert.ok(budget.waitMs(BLOB) > RELOOK_MS, "and for the next");
  await clock.advance(RELOOK_MS);
  answer(budget.begin(HEAD), 200);
  assert.equal(budget.waitMs(BLOB), 0);
});

test("pulls that were refused for hours are looked after by HEAD alone, and not where they were all ours", async () => {
  const { clock, budget, ask } = scene();
  ask(GET, 429, { ...hub(0), "retry-after": "72000" });
  await clock.advance(RELOOK_MS);
  assert.ok(budget.waitMs(GET) > RELOOK_MS);
  assert.equal(budget.waitMs(HEAD), 0);
  ask(HEAD, 200, hub(5));
  assert.equal(budget.waitMs(GET), 0);

  const own = scene();
  own.ask(HEAD, 200, hub(2, 2));
  own.ask(GET, 200, hub(1, 2));
  own.ask(GET, 200, hub(0, 2));
  await own.clock.advance(RELOOK_MS);
  assert.ok(own.budget.waitMs(HEAD) > RELOOK_MS);
});
