import assert from "node:assert/strict";
import { test } from "node:test";
import { Circuit, type CircuitState, SILENCE_MS } from "../../../src/upstream/endpoints/circuit.ts";
import { Endpoints } from "../../../src/upstream/endpoints/endpoints.ts";
import { ManualClock } from "../../kit/clock.ts";

const scene = () => {
  const clock = new ManualClock();
  const states: CircuitState[] = [];
  const circuit = new Circuit(
    clock,
    (state) => states.push(state),
    () => 0.5,
  );
  const fail = () => circuit.begin().failed();
  return { clock, states, circuit, fail };
};

test("three failures in a row open it for half a second, for misses and refreshes alike", async () => {
  const { circuit, fail, states } = scene();
  fail();
  fail();
  assert.equal(circuit.waitMs("miss"), 0);
  fail();
  assert.equal(circuit.state, "open");
  assert.equal(circuit.waitMs("miss"), 500);
  assert.equal(circuit.waitMs("refresh"), 500);
  assert.deepEqual(states, ["open"]);
});

test("an answer between failures keeps it closed", async () => {
  const { circuit, fail } = scene();
  for (let round = 0; round < 5; round++) {
    fail();
    fail();
    circuit.begin().answered();
  }
  assert.equal(circuit.state, "closed");
});

test("when its time is over one question goes through, and its answer closes it", async () => {
  const { circuit, clock, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  await clock.advance(500);
  assert.equal(circuit.waitMs("refresh"), 0);
  const probe = circuit.begin();
  assert.ok(circuit.waitMs("miss") > 0, "the others wait for the probe");
  probe.answered();
  assert.equal(circuit.state, "closed");
  assert.equal(circuit.waitMs("miss"), 0);
});

test("each probe that fails doubles the time, up to half a minute", async () => {
  const { circuit, clock, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  const waits: number[] = [];
  for (let round = 0; round < 8; round++) {
    waits.push(circuit.waitMs("miss"));
    await clock.advance(circuit.waitMs("miss"));
    fail();
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

test("a probe that we leave lets the next question be one", async () => {
  const { circuit, clock, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  await clock.advance(500);
  circuit.begin().left();
  assert.equal(circuit.waitMs("miss"), 0);
  assert.equal(circuit.state, "open");
});

test("silence for two seconds refuses refreshes and lets misses through", async () => {
  const { circuit, clock } = scene();
  const silent = circuit.begin();
  await clock.advance(SILENCE_MS);
  assert.equal(circuit.state, "slow");
  assert.equal(circuit.waitMs("miss"), 0);
  assert.ok(circuit.waitMs("refresh") > 0);
  silent.answered();
  assert.equal(circuit.waitMs("refresh"), 0);
  assert.equal(clock.pending, 0);
});

test("one question that is slow while others are answered changes nothing", async () => {
  const { circuit, clock } = scene();
  const silent = circuit.begin();
  await clock.advance(SILENCE_MS / 2);
  circuit.begin().answered();
  await clock.advance(SILENCE_MS);
  assert.equal(circuit.state, "closed");
  silent.failed();
  assert.equal(circuit.state, "closed");
});

test("a clock that is set back does not keep it open for ever", async () => {
  const { circuit, clock, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  clock.jump(-86_400_000);
  assert.ok(circuit.waitMs("miss") <= 60_000);
});

test("a clock that is set back before its time began ends that, and failures count on", () => {
  const { circuit, clock, fail } = scene();
  circuit.begin().answered();
  clock.jump(-3_600_000);
  for (let time = 0; time < 3; time++) fail();
  assert.equal(circuit.state, "open");
  assert.equal(circuit.waitMs("miss"), 500);
  clock.jump(-3_600_000);
  assert.equal(circuit.waitMs("miss"), 0);
});

test("endpoints are asked in their order, those that failed for this question last", async () => {
  const clock = new ManualClock();
  const urls: [URL, URL] = [new URL("https://one.test"), new URL("https://two.test")];
  const told: string[] = [];
  const endpoints = new Endpoints(urls, clock, (url, state, best) => told.push(`${url.host} ${state} ${best}`));
  const [one, two] = endpoints.all;
  assert.ok(one !== undefined && two !== undefined);
  assert.equal(endpoints.choose("miss").endpoint, one);
  assert.equal(endpoints.choose("miss", new Set([one])).endpoint, two);
  assert.equal(endpoints.choose("miss", new Set([one, two])).endpoint, one);
  assert.equal(endpoints.hasOther("miss", new Set([one])), true);
  for (let time = 0; time < 3; time++) one.circuit.begin().failed();
  assert.equal(endpoints.choose("miss").endpoint, two, "an ill one is skipped");
  for (let time = 0; time < 3; time++) two.circuit.begin().failed();
  assert.ok(endpoints.choose("miss").waitMs > 0);
  assert.deepEqual(told, ["one.test open closed", "two.test open open"]);
});
