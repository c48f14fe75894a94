/** The metrics' label of a verdict. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { cacheLabel, type Verdict } from "../../src/mirror/verdict.ts";

test("every verdict has one of the few labels that the metrics know", () => {
  const table: readonly [Verdict, string][] = [
    [{ cache: "hit" }, "hit"],
    [{ cache: "hit", ttlMs: 5 }, "hit"],
    [{ cache: "revalidated" }, "revalidated"],
    [{ cache: "stale", ttlMs: -5, reason: "limited" }, "stale"],
    [{ cache: "miss", stored: true }, "miss"],
    [{ cache: "joined" }, "joined"],
    [{ cache: "partial" }, "partial"],
    [{ cache: "bypass", why: "disk-full" }, "bypass"],
    [{ cache: "absent", remembered: true }, "hit"],
    [{ cache: "absent", remembered: false }, "miss"],
    [{ cache: "none" }, "none"],
  ];
  for (const [verdict, label] of table) assert.equal(cacheLabel(verdict), label);
});
