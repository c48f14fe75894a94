import assert from "node:assert/strict";
import { test } from "node:test";
import { parseReference } from "../../../src/oci/reference.ts";
import { RetryBudget } from "../../../src/upstream/endpoints/retrybudget.ts";
import { ManualClock } from "../../kit/clock.ts";
import { app, ask, never, play } from "../scene.ts";

const granted = (budget: RetryBudget, times = 1000) =>
  Array.from({ length: times }, () => budget.take()).filter(Boolean).length;

test("a few are asked again however little is asked, and a fifth of much", async () => {
  const clock = new ManualClock();
  const budget = new RetryBudget(clock);
  assert.equal(granted(budget), 10);
  for (let at = 0; at < 100; at++) budget.note();
  assert.equal(granted(budget), 20);
  await clock.advance(9000);
  assert.equal(granted(budget), 0, "for ten seconds");
  await clock.advance(1000);
  assert.equal(granted(budget), 10);
});

test("a clock that is set back keeps nobody from asking again", () => {
  const clock = new ManualClock();
  const budget = new RetryBudget(clock);
  granted(budget);
  clock.jump(-3_600_000);
  assert.equal(granted(budget), 10);
});

test("a herd of misses that all fail is not asked four times each", async (t) => {
  const { url, requests } = await play(t, (_, response) => void response.writeHead(500).end());
  const { upstream } = ask(t, url);
  const herd = Array.from({ length: 50 }, (_, at) =>
    assert.rejects(upstream.headManifest(app, parseReference(`v${at}`), never), { kind: "unreachable" }),
  );
  await Promise.all(herd);
  assert.ok(requests.length <= 70, `${requests.length} requests of 50 questions`);
});
