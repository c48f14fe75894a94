/**
 * Tokens over time: what a refusal costs, and for how long; and timers that are longer than Node's.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../src/base/clock.ts";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { Tokens } from "../../src/upstream/tokens.ts";
import { ManualClock } from "../kit/clock.ts";

const never = new AbortController().signal;
const request = { realm: new URL("https://auth.example/token"), service: "s", scopes: ["repository:a:pull"] };

function refusing(failure: Failure) {
  const clock = new ManualClock();
  const tokens = new Tokens(clock);
  let asked = 0;
  const obtain = (scopes = request.scopes) =>
    tokens.obtain(
      { ...request, scopes },
      {
        ask: async () => {
          asked += 1;
          throw failure;
        },
      },
      never,
    );
  return { clock, obtain, asked: () => asked };
}

test("a refusal is remembered for ten seconds, for its scope alone", async () => {
  const { clock, obtain, asked } = refusing(new Failure("refused", "no"));
  for (let at = 0; at < 3; at++) await assert.rejects(obtain(), (error) => isFailure(error, "refused"));
  assert.equal(asked(), 1);
  await assert.rejects(obtain(["repository:b:pull"]));
  assert.equal(asked(), 2);
  clock.jump(10_000);
  await assert.rejects(obtain());
  assert.equal(asked(), 3);
});

test("a limit is remembered for as long as the token server says, and told with what is left of it", async () => {
  const { clock, obtain, asked } = refusing(new Failure("limited", "slow down", { retryAfterMs: 120_000 }));
  await assert.rejects(obtain());
  clock.jump(100_000);
  await assert.rejects(obtain(), (error) => isFailure(error, "limited") && error.retryAfterMs === 20_000);
  assert.equal(asked(), 1);
  clock.jump(20_000);
  await assert.rejects(obtain());
  assert.equal(asked(), 2);
});

test("a token server that is out of reach is asked again at once", async () => {
  const { obtain, asked } = refusing(new Failure("unreachable", "gone"));
  await assert.rejects(obtain());
  await assert.rejects(obtain());
  assert.equal(asked(), 2);
});

test("a time limit of many days is not over at once", async () => {
  let isOver = false;
  const cancel = systemClock.after(60 * 86_400_000, () => {
    isOver = true;
  });
  await sleep(20);
  cancel();
  assert.equal(isOver, false);
});
