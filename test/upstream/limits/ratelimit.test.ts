import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { findLimits, judgeRefusal } from "../../../src/upstream/limits/ratelimit.ts";

const NOW = Date.UTC(2026, 0, 1);

test("limits are read in every form they come in", () => {
  const cases: [Record<string, string>, (number | undefined)[]][] = [
    [{ "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "20;w=21600" }, [100, 20, 21_600_000, undefined]],
    [{ ratelimit: "limit=100, remaining=50, reset=5" }, [100, 50, undefined, 5000]],
    [{ ratelimit: '"default";r=50;t=30', "ratelimit-policy": '"default";q=100;w=60' }, [100, 50, 60_000, 30_000]],
    [
      { "ratelimit-limit": "10, 10;w=1, 1000;w=3600", "ratelimit-remaining": "9", "ratelimit-reset": "1" },
      [10, 9, 1000, 1000],
    ],
    [
      { "x-ratelimit-limit": "60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "90" },
      [60, 0, undefined, 90_000],
    ],
    [
      { "ratelimit-limit": "600", "ratelimit-remaining": "5", "ratelimit-reset": String(NOW / 1000 + 60) },
      [600, 5, undefined, 60_000],
    ],
    [{ "ratelimit-remaining": "3;w=99999999" }, [undefined, 3, 86_400_000, undefined]],
  ];
  for (const [headers, expected] of cases) {
    const said = findLimits(headers, NOW);
    assert.deepEqual([said?.limit, said?.remaining, said?.windowMs, said?.resetMs], expected, JSON.stringify(headers));
  }
  assert.equal(findLimits({ "x-ratelimit-limit": "0", "x-ratelimit-remaining": "0" }, NOW), undefined);
  assert.equal(findLimits({ "ratelimit-limit": "many", "content-type": "text/html" }, NOW), undefined);
});

test("whom an upstream counts is cut and printable", () => {
  const said = findLimits(
    { "ratelimit-limit": "1", "docker-ratelimit-source": `203.0.113.7\u0007${"x".repeat(500)}` },
    NOW,
  );
  assert.match(said?.source ?? "", /^203\.0\.113\.7x{117}$/);
});

test("a 429 is told from another by what it says", () => {
  const cases: [Record<string, string>, string, ReturnType<typeof judgeRefusal>][] = [
    [{}, "You have reached your pull rate limit.", { of: "pulls", waitMs: undefined }],
    [{}, "see https://www.docker.com/increase-rate-limit", { of: "pulls", waitMs: undefined }],
    [{ "ratelimit-limit": "100", "ratelimit-remaining": "0" }, "", { of: "pulls", waitMs: undefined }],
    [{}, "429 Too Many Requests", { of: "abuse", waitMs: undefined }],
    [{}, "<html><title>429</title>", { of: "abuse", waitMs: undefined }],
    [{}, "toomanyrequests: Rate exceeded", { of: "rate", waitMs: undefined }],
    [{}, "TOOMANYREQUESTS: retry-after: 1.16ms, allowed: 44000/minute", { of: "rate", waitMs: 2 }],
    [{}, "retry-after: 1m2.5s, allowed: 1/minute", { of: "rate", waitMs: 62_500 }],
    [{}, "retry-after: 532.967µs", { of: "rate", waitMs: 1 }],
    [{ "retry-after": "7" }, "", { of: "rate", waitMs: 7000 }],
    [{ "retry-after": "soon" }, "", { of: "abuse", waitMs: undefined }],
  ];
  for (const [headers, body, expected] of cases) assert.deepEqual(judgeRefusal(headers, body, NOW), expected, body);
});

test("no text makes a wait that is not a number between nothing and a day", () => {
  const text = fc.oneof(fc.string(), fc.stringMatching(/^retry-after: ?[\d.]{1,12}(ns|µs|ms|s|m|h)[\d.]{0,5}[smh]?$/));
  fc.assert(
    fc.property(text, text, text, (header, body, limit) => {
      const { waitMs = 0 } = judgeRefusal({ "retry-after": header, "ratelimit-remaining": limit }, body, NOW);
      const said = findLimits({ "ratelimit-limit": "1", "ratelimit-reset": header, ratelimit: limit }, NOW);
      for (const ms of [waitMs, said?.resetMs ?? 0, said?.windowMs ?? 0]) {
        assert.ok(ms >= 0 && ms <= 86_400_000, String(ms));
      }
    }),
  );
});
