/** Two ends of a conversation between processes: answers, failures, order, and the end of the other side. */
import assert from "node:assert/strict";
import test from "node:test";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { Channel } from "../../src/workers/channel.ts";
import { errorOfText, textOfError } from "../../src/workers/failures.ts";

interface Asks {
  double(value: number): Promise<number>;
  fail(value: undefined): Promise<never>;
}
interface Posts {
  readonly note: string;
}
const silent = { answer: {}, take: {} };

function pair() {
  const notes: string[] = [];
  const reception = {
    answer: {
      double: async (value: number) => value * 2,
      fail: async () => {
        throw new Failure("limited", "not now", { retryAfterMs: 5, detail: { a: 1 } });
      },
    },
    take: { note: (text: string) => notes.push(text) },
  };
  const near: Channel<Asks, Posts> = new Channel({
    send: (message) => far.receive(structuredClone(message), reception),
  });
  const far: Channel<object, object> = new Channel({
    send: (message) => near.receive(structuredClone(message), silent),
  });
  return { near, far, notes };
}

test("questions are answered, and a failure arrives as one, with all it knows", async () => {
  const { near } = pair();
  assert.deepEqual(await Promise.all([near.ask("double", 2), near.ask("double", 5)]), [4, 10]);
  await assert.rejects(near.ask("fail", undefined), (error) => {
    assert.ok(isFailure(error, "limited"));
    assert.equal(error.retryAfterMs, 5);
    assert.deepEqual(error.detail, { a: 1 });
    return true;
  });
});

test("posts arrive in order, and none after the other end is gone, when every question fails", async () => {
  const { near, notes } = pair();
  near.post("note", "one");
  near.post("note", "two");
  assert.deepEqual(notes, ["one", "two"]);
  const mute: Channel<Asks, Posts> = new Channel({ send: () => {} });
  const asked = mute.ask("double", 1);
  mute.close();
  await assert.rejects(asked, (error) => isFailure(error, "overloaded"));
  await assert.rejects(mute.ask("double", 1), (error) => isFailure(error, "overloaded"));
});

test("an error that is no failure stays one, and what cannot be told of it is left out", () => {
  const bug = errorOfText(textOfError(new TypeError("x is not a function")));
  assert.ok(!isFailure(bug));
  assert.equal(bug.message, "x is not a function");
  const circular: Record<string, unknown> = {};
  circular["self"] = circular;
  const failure = errorOfText(
    textOfError(new Failure("corrupt", "bad", { detail: circular, cause: new Error("why") })),
  );
  assert.ok(isFailure(failure, "corrupt"));
  assert.equal(failure.detail, undefined);
  assert.equal((failure.cause as Error).message, "why");
});
