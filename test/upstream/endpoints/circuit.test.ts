import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { Circuit, type CircuitState, SILENCE_MS } from "../../../src/upstream/endpoints/circuit.ts";
import { type Endpoint, Endpoints } from "../../../src/upstream/endpoints/endpoints.ts";
import { ManualClock } from "../../kit/clock.ts";

const scene = () => {
  const clock = new ManualClock();
  const states: CircuitState[] = [];
  const circuit = new Circuit(
    clock,
    (state) => states.push(state),
    () => 0.5,
  );
  const ask = (repository = ONE) => {
    const trial = circuit.begin(repository);
    trial.asked();
    return trial;
  };
  const fail = () => ask().failed();
  return { clock, states, circuit, ask, fail };
};
const ONE = "team/one";
const status = new Failure("unreachable", "reg.test answered 503", { upstreamStatus: 503 });

test("three failures in a row open it for half a second, for misses and refreshes alike", async () => {
  const { circuit, fail, states } = scene();
  fail();
  fail();
  assert.equal(circuit.waitMs("miss", ONE), 0);
  fail();
  assert.equal(circuit.state, "open");
  assert.equal(circuit.waitMs("miss", ONE), 500);
  assert.equal(circuit.waitMs("refresh", ONE), 500);
  assert.deepEqual(states, ["open"]);
});

test("an answer between failures keeps it closed", async () => {
  const { ask, circuit, fail } = scene();
  for (let round = 0; round < 5; round++) {
    fail();
    fail();
    ask().answered();
  }
  assert.equal(circuit.state, "closed");
});

test("when its time is over one question goes through, and its answer closes it", async () => {
  const { ask, circuit, clock, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  await clock.advance(500);
  assert.equal(circuit.waitMs("refresh", ONE), 0);
  const probe = ask();
  assert.ok(circuit.waitMs("miss", ONE) > 0, "the others wait for the probe");
  probe.answered();
  assert.equal(circuit.state, "closed");
  assert.equal(circuit.waitMs("miss", ONE), 0);
});

test("each probe that fails doubles the time, up to half a minute", async () => {
  const { circuit, clock, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  const waits: number[] = [];
  for (let round = 0; round < 8; round++) {
    waits.push(circuit.waitMs("miss", ONE));
    await clock.advance(circuit.waitMs("miss", ONE));
    fail();
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
});

test("a probe that we leave lets the next question be one", async () => {
  const { ask, circuit, clock, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  await clock.advance(500);
  ask().end();
  assert.equal(circuit.waitMs("miss", ONE), 0);
  assert.equal(circuit.state, "open");
});

test("silence for two seconds refuses refreshes and lets misses through", async () => {
  const { ask, circuit, clock } = scene();
  const silent = ask();
  await clock.advance(SILENCE_MS);
  assert.equal(circuit.state, "slow");
  assert.equal(circuit.waitMs("miss", ONE), 0);
  assert.ok(circuit.waitMs("refresh", ONE) > 0);
  silent.answered();
  assert.equal(circuit.waitMs("refresh", ONE), 0);
  assert.equal(clock.pending, 0);
});

test("one question that is slow while others are answered changes nothing", async () => {
  const { ask, circuit, clock } = scene();
  const silent = ask();
  await clock.advance(SILENCE_MS / 2);
  ask().answered();
  await clock.advance(SILENCE_MS);
  assert.equal(circuit.state, "closed");
  silent.failed();
  assert.equal(circuit.state, "closed");
});

test("a clock that is set back before its time began ends that, and failures count on", () => {
  const { ask, circuit, clock, fail } = scene();
  ask().answered();
  clock.jump(-3_600_000);
  for (let time = 0; time < 3; time++) fail();
  assert.equal(circuit.state, "open");
  assert.equal(circuit.waitMs("miss", ONE), 500);
  clock.jump(-3_600_000);
  assert.equal(circuit.waitMs("miss", ONE), 0);
});

test("endpoints are asked in their order, those that failed for this question last", async () => {
  const clock = new ManualClock();
  const urls: [URL, URL] = [new URL("https://one.test"), new URL("https://two.test")];
  const told: string[] = [];
  const endpoints = new Endpoints(urls, clock, (url, state, best) => told.push(`${url.host} ${state} ${best}`));
  const [one, two] = endpoints.all;
  assert.ok(one !== undefined && two !== undefined);
  const fail = ({ circuit }: Endpoint) => {
    const trial = circuit.begin(ONE);
    trial.asked();
    trial.failed();
  };
  assert.equal(endpoints.choose("miss", ONE).endpoint, one);
  assert.equal(endpoints.choose("miss", ONE, new Set([one])).endpoint, two);
  assert.equal(endpoints.choose("miss", ONE, new Set([one, two])).endpoint, one);
  assert.equal(endpoints.hasOther("miss", ONE, new Set([one])), true);
  for (let time = 0; time < 3; time++) fail(one);
  assert.equal(endpoints.choose("miss", ONE).endpoint, two, "an ill one is skipped");
  for (let time = 0; time < 3; time++) fail(two);
  assert.ok(endpoints.choose("miss", ONE).waitMs > 0);
  assert.deepEqual(told, ["one.test open closed", "two.test open open"]);
});

test("a status of one repository closes it for that repository alone", async () => {
  const { ask, circuit, clock } = scene();
  for (let time = 0; time < 10; time++) ask().failed(status);
  assert.equal(circuit.state, "closed");
  assert.ok(circuit.waitMs("miss", ONE) > 0);
  assert.equal(circuit.troubleFor(ONE), status);
  assert.equal(circuit.waitMs("miss", "team/two"), 0);
  await clock.advance(60_000);
  assert.equal(circuit.waitMs("miss", ONE), 0);
  ask().answered();
  assert.equal(circuit.waitMs("miss", ONE), 0);
});

test("statuses of two repositories in a row open it, and one that has not failed is let through first", async () => {
  const { ask, circuit, clock } = scene();
  for (let time = 0; time < 3; time++) ask().failed(status);
  ask("team/two").failed(status);
  assert.equal(circuit.state, "open");
  for (let round = 0; round < 4; round++) {
    await clock.advance(circuit.waitMs("miss", ONE));
    ask().failed(status);
  }
  assert.ok(circuit.waitMs("miss", ONE) > 1000);
  await clock.advance(500);
  assert.ok(circuit.waitMs("miss", ONE) > 1000);
  assert.ok(circuit.waitMs("refresh", "team/three") > 1000, "nobody waits for it");
  assert.equal(circuit.waitMs("miss", "team/three"), 0);
  const probe = ask("team/three");
  assert.ok(circuit.waitMs("miss", "team/four") > 0, "one at a time");
  probe.answered();
  assert.equal(circuit.state, "closed");
});

test("what goes on before a request is sent says nothing of the endpoint", async () => {
  const { circuit, clock } = scene();
  for (let time = 0; time < 5; time++) {
    const trial = circuit.begin(ONE);
    await clock.advance(SILENCE_MS * 2);
    trial.failed();
    trial.end();
  }
  assert.equal(circuit.state, "closed");
  assert.equal(clock.pending, 0);
});

test("our time that ran out on a request with little of it is not the endpoint's silence", async () => {
  const late = new Failure("unreachable", "reg.test did not answer in time", { timedOut: true });
  const { circuit, clock } = scene();
  for (let time = 0; time < 5; time++) {
    const trial = circuit.begin(ONE);
    await clock.advance(SILENCE_MS * 2);
    trial.asked();
    await clock.advance(SILENCE_MS / 4);
    trial.failed(late);
    trial.end();
  }
  assert.equal(circuit.state, "closed");
});

test("a clock that is set back ends the time it is open, and hides no failures", () => {
  const { circuit, clock, ask, fail } = scene();
  for (let time = 0; time < 3; time++) fail();
  clock.jump(-3_600_000);
  assert.equal(circuit.waitMs("miss", ONE), 0);
  ask().answered();
  clock.jump(-3_600_000);
  for (let time = 0; time < 3; time++) fail();
  assert.equal(circuit.state, "open");
});
