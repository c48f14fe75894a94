/** One blob by several connections: no byte twice, a prefix for followers, and policy that decides how many there are. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { Download } from "../../src/mirror/download.ts";
import { FIRST_PIECE_BYTES } from "../../src/mirror/fillpolicy.ts";
import { Pace } from "../../src/mirror/pace.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { Scribe } from "../../src/store/scribe.ts";
import { ManualClock } from "../kit/clock.ts";
import { VirtualContent } from "../kit/content.ts";
import { filesUnder } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { POLICY } from "./parts.ts";
import { type ScriptedRequest, ScriptedUpstream } from "./scripted-upstream.ts";

const MIB = 1024 * 1024;
const content = new VirtualContent(96 * MIB + 777, 5);
const SIZE = content.sizeBytes;

async function begin({ segments = 4, sizeHint = SIZE, pace = new Pace(), awaited = (): boolean => true } = {}) {
  const dir = await makeTempDir("download");
  const scribe = new Scribe();
  const store = await DiskStore.open(dir.path, undefined, scribe);
  const clock = new ManualClock();
  const upstream = new ScriptedUpstream(content, clock);
  const source = { name: "docker.io", upstream, freshness: POLICY, maxPasses: 1, segments };
  const ingest = await store.ingest(content.digest);
  const abort = new AbortController();
  const resumedAt: number[] = [];
  const download = new Download({
    route: makeRoute(source, parseRepository("library/demo")),
    digest: content.digest,
    sizeHint,
    signal: abort.signal,
    clock,
    pace,
    random: () => 0.5,
    awaited,
    begin: async (sizeBytes) => {
      if (sizeBytes !== undefined) ingest.declareSize(sizeBytes);
      return { ingest, limitBytes: Number.POSITIVE_INFINITY };
    },
    resumed: (atByte) => resumedAt.push(atByte),
  });
  /** Turns of the loop, until it holds; the thread that writes has its own pace. */
  const until = async (holds: () => boolean) => {
    const deadline = performance.now() + 10_000;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error("it did not come to that");
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return {
    upstream,
    ingest,
    store,
    scribe,
    clock,
    abort,
    resumedAt,
    until,
    start: () => {
      const running = download.run();
      running.catch(() => {});
      return running;
    },
    /** Half a second and more, in which every connection brings so much. */
    measure: async (bytes: number) => {
      for (let tick = 0; tick < 3; tick += 1) {
        const received = ingest.receivedBytes;
        const sending = upstream.running;
        const sent = sending.map((request) => {
          const before = request.sentBytes;
          request.send(bytes);
          return request.sentBytes - before;
        });
        const sum = sent.reduce((a, b) => a + b, 0);
        await until(() => ingest.receivedBytes === received + sum);
        await clock.advance(250);
      }
    },
    /** Lets everything come, the requests in the order that is given. */
    finish: async (order: (requests: ScriptedRequest[]) => ScriptedRequest | undefined = (all) => all[0]) => {
      for (let round = 0; round < 200 && ingest.receivedBytes < SIZE; round += 1) {
        await until(() => upstream.running.length > 0 || ingest.receivedBytes === SIZE);
        const request = order(upstream.running);
        request?.send();
        await until(() => request?.over !== false);
      }
    },
    partials: () => filesUnder(join(dir.path, "partial")),
    [Symbol.asyncDispose]: async () => {
      await ingest.fail(new Error("over"));
      ingest.close();
      await until(() => scribe.slabs.outBytes === 0);
      await store.stop();
      assert.equal(clock.pending, 0, "timers are left");
      await dir[Symbol.asyncDispose]();
    },
  };
}

type Begun = Awaited<ReturnType<typeof begin>>;

/** Four connections run. */
async function spread(made: Begun): Promise<{ readonly running: Promise<unknown> }> {
  const running = made.start();
  await made.until(() => made.upstream.requests.length === 1);
  await made.measure(100_000);
  await made.until(() => made.upstream.running.length === 2);
  await made.measure(100_000);
  await made.until(() => made.upstream.running.length === 4);
  return { running };
}

/** What the requests brought lies side by side and is the blob, no byte twice. */
function assertOnce(requests: readonly ScriptedRequest[]): void {
  const brought = requests.filter(({ sentBytes }) => sentBytes > 0).sort((a, b) => a.start - b.start);
  let at = 0;
  for (const { start, sentBytes } of brought) {
    assert.equal(start, at);
    at += sentBytes;
  }
  assert.equal(at, SIZE);
}

async function assertStored({ ingest, store }: Begun): Promise<void> {
  await (await ingest.finish()).stored;
  assert.ok(store.has(content.digest));
}

test("connections are added while that is worth it, each byte comes once, and the blob is right in any order", async () => {
  await using made = await begin();
  const { running } = await spread(made);
  let turn = 0;
  await made.finish((requests) => requests[(turn++ * 7 + 3) % requests.length]);
  assert.equal(await running, undefined);
  assertOnce(made.upstream.requests);
  await assertStored(made);
  assert.equal(made.upstream.heads, 1);
});

test("a second connection that brings nothing is not kept, and the other one asks for all the rest at once", async () => {
  await using made = await begin();
  const running = made.start();
  await made.until(() => made.upstream.requests.length === 1);
  await made.measure(1_000_000);
  await made.until(() => made.upstream.running.length === 2);
  await made.measure(500_000);
  await made.finish();
  await running;
  assertOnce(made.upstream.requests);
  assert.equal(made.upstream.requests.length, 3);
  await assertStored(made);
});

test("one connection that is fast brings the first piece, and the rest by one more request", async () => {
  await using made = await begin();
  const running = made.start();
  await made.finish();
  await running;
  assert.deepEqual(
    made.upstream.requests.map(({ range }) => range),
    [
      { start: 0, end: 16 * MIB - 1 },
      { start: 16 * MIB, end: SIZE - 1 },
    ],
  );
  await assertStored(made);
});

test("one request is enough: near by, for small blobs, and where the configuration says so", async () => {
  const near = new Pace();
  near.answered(1);
  for (const options of [{ pace: near }, { sizeHint: 63 * MIB }, { segments: 1 }]) {
    await using made = await begin(options);
    const running = made.start();
    await made.until(() => made.upstream.requests.length === 1);
    await made.clock.advance(5000);
    await made.finish();
    await running;
    assert.deepEqual(
      made.upstream.requests.map(({ range }) => range),
      [undefined],
    );
    assert.equal(made.upstream.heads, 0);
    await assertStored(made);
  }
});

test("an upstream that does not say how far it is has two seconds for that, and is taken for far", async () => {
  await using made = await begin();
  made.upstream.silent = true;
  const running = made.start();
  await made.until(() => made.upstream.heads === 1);
  await made.clock.advance(1999);
  assert.equal(made.upstream.requests.length, 0);
  await made.clock.advance(1);
  await made.until(() => made.upstream.requests.length === 1);
  assert.equal(made.upstream.requests[0]?.range?.end, FIRST_PIECE_BYTES - 1);
  await made.finish();
  await running;
  await assertStored(made);
});

test("an upstream that ignores ranges sends the whole once", async () => {
  await using made = await begin();
  made.upstream.answering = () => "ignore the range";
  const running = made.start();
  await made.until(() => made.upstream.requests.length === 1);
  await made.clock.advance(2000);
  await made.finish();
  await running;
  assert.equal(made.upstream.requests.length, 1);
  await assertStored(made);
});

test("a further request that is refused leaves its piece to the others, and no more are tried", async () => {
  const refusals = [
    new Failure("limited", "429", { upstreamStatus: 429 }),
    new Failure("corrupt", "416", { upstreamStatus: 416 }),
    new Failure("unreachable", "503", { upstreamStatus: 503 }),
    "ignore the range" as const,
    { absent: "unknown" } as const,
  ];
  for (const refusal of refusals) {
    await using made = await begin();
    made.upstream.answering = (_request, number) => (number === 2 ? refusal : undefined);
    const running = made.start();
    await made.until(() => made.upstream.requests.length === 1);
    await made.measure(100_000);
    await made.until(() => made.upstream.requests.length === 2);
    await made.measure(100_000);
    await made.finish();
    await running;
    assertOnce(made.upstream.requests);
    assert.equal(made.upstream.running.length, 0);
    assert.ok(made.upstream.requests.length <= 4, "one connection is left");
    await assertStored(made);
  }
});

test("a single connection that is limited in the middle is patient, and gives up in the end", async () => {
  const limited = new Failure("limited", "429", { upstreamStatus: 429 });
  for (const refusals of [2, 10]) {
    await using made = await begin();
    made.upstream.answering = (_request, number) => (number > 1 && number <= 1 + refusals ? limited : undefined);
    const running = made.start();
    await made.until(() => made.upstream.requests.length === 1);
    made.upstream.requests[0]?.send();
    await made.until(() => made.upstream.requests.length === 2);
    for (let wait = 0; wait < 8; wait += 1) await made.clock.advance(4000);
    if (refusals === 10) {
      await assert.rejects(running, (error) => error === limited);
      continue;
    }
    await made.finish();
    await running;
    await assertStored(made);
  }
});

test("a piece that breaks is taken up at its own byte while the others go on", async () => {
  await using made = await begin();
  const { running } = await spread(made);
  const [, second, third] = made.upstream.running;
  assert.ok(second !== undefined && third !== undefined);
  third.send(3 * MIB);
  second.send(2 * MIB + 5);
  const brought = () => made.upstream.requests.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  await made.until(() => made.ingest.receivedBytes === brought());
  second.break();
  await made.until(() => second.over);
  await made.clock.advance(100);
  await made.finish((requests) => requests.at(-1));
  await running;
  assert.deepEqual(made.resumedAt, [second.start + second.sentBytes]);
  assertOnce(made.upstream.requests);
  await assertStored(made);
});

test("a body that breaks after its last byte is not asked for again, be it a piece or the whole", async () => {
  for (const segments of [4, 1]) {
    await using made = await begin({ segments });
    const running = made.start();
    await made.until(() => made.upstream.requests.length === 1);
    for (let number = 1; made.ingest.receivedBytes < SIZE; number += 1) {
      await made.until(() => made.upstream.requests.length === number);
      const request = made.upstream.requests[number - 1];
      assert.ok(request !== undefined);
      request.send(Number.POSITIVE_INFINITY, false);
      const { end } = request;
      await made.until(() => made.ingest.receivedBytes === end);
      request.break();
      await made.until(() => request.over);
    }
    await running;
    assert.deepEqual(made.resumedAt, []);
    assertOnce(made.upstream.requests);
    await assertStored(made);
  }
});

const away = new Failure("unreachable", "refuses connections");

/** One request for the whole, which breaks halfway; further ones are answered as `answering` says. */
async function halfway(made: Begun) {
  const running = made.start();
  await made.until(() => made.upstream.requests.length === 1);
  const [first] = made.upstream.requests;
  assert.ok(first !== undefined);
  first.send(Math.floor(SIZE / 2));
  await made.until(() => made.ingest.receivedBytes === first.sentBytes);
  first.break();
  await made.until(() => first.over);
  return { running };
}

test("an upstream that is away for twenty seconds is waited for, and the rest comes from the byte that was reached", async () => {
  await using made = await begin({ segments: 1 });
  const { clock, upstream, ingest } = made;
  const back = clock.now() + 20_000;
  upstream.answering = () => (upstream.requests.length > 0 && clock.now() < back ? away : undefined);
  const { running } = await halfway(made);
  const reached = ingest.receivedBytes;
  for (let second = 0; second < 22; second += 1) await clock.advance(1000);
  await made.finish();
  assert.equal(await running, undefined);
  assertOnce(upstream.requests);
  assert.deepEqual(made.resumedAt, [reached], "told once for a break");
  assert.ok(upstream.requests.length < 20, `${upstream.requests.length} requests`);
  await assertStored(made);
});

test("an upstream that stays away is given up after half a minute, sooner where nobody waits, at once where nothing came", async () => {
  for (const [awaited, seconds] of [
    [true, 30],
    [false, 5],
  ] as const) {
    await using made = await begin({ segments: 1, awaited: () => awaited });
    made.upstream.answering = (_request, number) => (number > 1 ? away : undefined);
    const { running } = await halfway(made);
    const startedAt = made.clock.now();
    let endedAt = 0;
    running.catch(() => {
      endedAt = made.clock.now();
    });
    for (let second = 0; second < 40; second += 1) await made.clock.advance(1000);
    await assert.rejects(running, (error) => error === away);
    assert.ok(endedAt - startedAt <= seconds * 1000 && endedAt - startedAt >= (seconds - 2) * 1000);
    assert.equal(made.upstream.urgencies.at(-1), awaited ? "miss" : "refresh");
  }
  await using nothing = await begin({ segments: 1 });
  nothing.upstream.answering = () => away;
  await assert.rejects(nothing.start(), (error) => error === away);
  assert.equal(nothing.upstream.requests.length, 1);
});

test("all connections break at once and the upstream is away for three seconds: all of them go on, no byte comes twice", async () => {
  await using made = await begin();
  const { clock, upstream } = made;
  const { running } = await spread(made);
  const broken = upstream.running;
  for (const request of broken) request.send(200_000);
  const brought = () => upstream.requests.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  await made.until(() => made.ingest.receivedBytes === brought());
  const back = clock.now() + 3000;
  upstream.answering = () => (clock.now() < back ? away : undefined);
  for (const request of broken) request.break();
  await made.until(() => broken.every(({ over }) => over));
  for (let tenth = 0; tenth < 50; tenth += 1) await clock.advance(100);
  assert.equal(upstream.running.length, 4);
  await made.finish();
  await running;
  assertOnce(upstream.requests);
  assert.equal(made.resumedAt.length, 4);
  await assertStored(made);
});

test("an upstream that sends next to nothing for a minute is asked anew from the byte that was reached", async () => {
  await using made = await begin({ segments: 1 });
  const running = made.start();
  await made.until(() => made.upstream.requests.length === 1);
  const [first] = made.upstream.requests;
  assert.ok(first !== undefined);
  for (const [bytes, over] of [
    [1_000_000, false],
    [61_441, false],
    [61_439, true],
  ] as const) {
    first.send(bytes);
    await made.until(() => made.ingest.receivedBytes === first.sentBytes);
    await made.clock.advance(60_000);
    assert.equal(first.over, over, `after ${bytes} bytes`);
  }
  await made.clock.advance(100);
  await made.finish();
  await running;
  assertOnce(made.upstream.requests);
  assert.equal(made.upstream.requests.length, 2);
  await assertStored(made);
});

test("another endpoint may answer with the whole, which is read past what is there, but not with another size", async () => {
  for (const size of [SIZE, SIZE + 1]) {
    await using made = await begin({ segments: 1 });
    made.upstream.saysSize = (number) => (number === 1 ? SIZE : size);
    made.upstream.answering = (_request, number) => (number === 2 ? away : number > 2 ? "ignore the range" : undefined);
    const { running } = await halfway(made);
    for (let tenth = 0; tenth < 10; tenth += 1) await made.clock.advance(100);
    if (size !== SIZE) {
      await assert.rejects(running, (error) => isFailure(error, "corrupt"));
      continue;
    }
    await made.until(() => made.upstream.running.length === 1);
    made.upstream.running[0]?.send();
    await running;
    await assertStored(made);
  }
});

test("a range of a blob of another size is refused, and all connections are ended", async () => {
  await using made = await begin();
  made.upstream.saysSize = (number) => (number === 3 ? SIZE + 1 : SIZE);
  const running = made.start();
  await made.until(() => made.upstream.requests.length === 1);
  await made.measure(100_000);
  await made.until(() => made.upstream.running.length === 2);
  await made.measure(100_000);
  await assert.rejects(running, (error) => isFailure(error, "corrupt"));
  await made.until(() => made.upstream.requests.every(({ over }) => over));
});

test("a stop in the middle ends every connection, gives all memory back, and leaves no file", async () => {
  await using made = await begin();
  const { running } = await spread(made);
  const reason = new Failure("overloaded", "stop");
  made.abort.abort(reason);
  await assert.rejects(running, (error) => error === reason);
  assert.deepEqual(made.upstream.running, []);
  await made.ingest.fail(reason);
  assert.deepEqual(await made.partials(), []);
});

test("what the upstream has not is no blob, and nothing is begun", async () => {
  await using made = await begin();
  made.upstream.answering = () => ({ absent: "unknown" });
  assert.deepEqual(await made.start(), { absent: "unknown" });
  assert.equal(made.upstream.requests.length, 1);
});
