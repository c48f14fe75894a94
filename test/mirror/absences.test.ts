/** What an upstream said it has not is believed for a while, in its place, and no longer. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Absences } from "../../src/mirror/absences.ts";
import { ManualClock } from "../kit/clock.ts";
import { POLICY, routeOf } from "./parts.ts";

const UNKNOWN = { absent: "unknown" } as const;
const DENIED = { absent: "denied" } as const;

test("an absence is remembered for as long as the policy says, and then forgotten", () => {
  const clock = new ManualClock();
  const absences = new Absences(clock);
  const route = routeOf();
  assert.equal(absences.find(route, "latest"), undefined);
  absences.remember(route, "latest", DENIED);
  assert.deepEqual(absences.find(route, "latest"), DENIED);
  clock.jump(POLICY.notFound - 1);
  assert.deepEqual(absences.find(route, "latest"), DENIED);
  clock.jump(1);
  assert.equal(absences.find(route, "latest"), undefined);
});

test("an absence counts in its repository, on its upstream, for its reference", () => {
  const absences = new Absences(new ManualClock());
  absences.remember(routeOf(), "latest", UNKNOWN);
  assert.equal(absences.find(routeOf(), "other"), undefined);
  assert.equal(absences.find(routeOf("ghcr.io"), "latest"), undefined);
  assert.equal(absences.find(routeOf("docker.io", "library/debian"), "latest"), undefined);
  assert.deepEqual(absences.find(routeOf(), "latest"), UNKNOWN);
});

test("an absence that was disproved is forgotten at once", () => {
  const absences = new Absences(new ManualClock());
  absences.remember(routeOf(), "latest", UNKNOWN);
  absences.forget(routeOf(), "latest");
  assert.equal(absences.find(routeOf(), "latest"), undefined);
});

test("an absence that is told again is believed anew", () => {
  const clock = new ManualClock();
  const absences = new Absences(clock);
  absences.remember(routeOf(), "latest", UNKNOWN);
  clock.jump(POLICY.notFound - 1);
  absences.remember(routeOf(), "latest", DENIED);
  clock.jump(POLICY.notFound - 1);
  assert.deepEqual(absences.find(routeOf(), "latest"), DENIED);
});

test("with no time to believe it, an absence is not remembered", () => {
  const absences = new Absences(new ManualClock());
  const route = routeOf("docker.io", "library/alpine", { ...POLICY, notFound: 0 });
  absences.remember(route, "latest", UNKNOWN);
  assert.equal(absences.find(route, "latest"), undefined);
});

test("an absence is not believed longer because the clock was set back", () => {
  const clock = new ManualClock();
  const absences = new Absences(clock);
  absences.remember(routeOf(), "latest", UNKNOWN);
  clock.jump(-3_600_000);
  assert.equal(absences.find(routeOf(), "latest"), undefined);
});
