import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { nextAfter, parseCron } from "../../src/config/cron.ts";
import { loadConfig } from "../../src/config/load.ts";

function faultOf(text: string): string {
  try {
    parseCron(text);
  } catch (error) {
    assert.ok(isFailure(error, "invalid"), String(error));
    return error.message;
  }
  throw new assert.AssertionError({ message: `${text} was taken` });
}

test("five fields, names of days and months, steps and the usual words are read", () => {
  for (const text of ["0 3 * * 0", "*/15 2-4 1,15 * *", "0 3 * * SUN", "0 0 29 2 *", "@weekly", "@daily"]) {
    assert.equal(parseCron(text), text);
  }
  assert.equal(parseCron("  0   3 * *\t0 "), "0 3 * * 0");
});

test("the next time is in local time and after the one that is given", () => {
  const at = new Date(2026, 0, 4, 3).getTime();
  assert.equal(nextAfter("0 3 * * 0", at - 1), at);
  assert.equal(nextAfter("0 3 * * 0", at), new Date(2026, 0, 11, 3).getTime());
});

test("a fault says which field is not understood, and repeats nothing of what was written", () => {
  assert.match(faultOf("61 3 * * 0"), /five fields.*not understood: minute$/);
  assert.match(faultOf("0 25 * * secret"), /not understood: hour, day of the week$/);
  assert.match(faultOf("0 0 31 2 *"), /never/);
  for (const text of ["", "0 3 * *", "* * * * * *", "@reboot", "secret", "*/0 * * * *", "9".repeat(1000)]) {
    assert.match(faultOf(text), /expected a cron expression of five fields/);
    assert.doesNotMatch(faultOf(text), /secret|999/);
  }
});

test("the scrub's schedule is weekly unless said otherwise, and null is never", () => {
  const load = (env: Record<string, string>) => loadConfig({ file: undefined, env, flags: {}, cwd: "/somewhere" });
  assert.deepEqual(load({}).cache.scrub, { schedule: "0 3 * * 0", bandwidth: 32 * 2 ** 20 });
  const env = { WHARFINGER_CACHE_SCRUB_SCHEDULE: "null", WHARFINGER_CACHE_SCRUB_BANDWIDTH: "null" };
  assert.deepEqual(load(env).cache.scrub, { schedule: null, bandwidth: null });
  assert.throws(() => load({ WHARFINGER_CACHE_SCRUB_SCHEDULE: "often" }), /five fields/);
  assert.throws(() => load({ WHARFINGER_CACHE_SCRUB_SCHEDULE: "3" }), /five fields/);
});
