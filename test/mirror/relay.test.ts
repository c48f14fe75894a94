/** One body past the store, for several readers: verified, at their own speeds, asked for once. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { LocalPasses } from "../../src/mirror/passes.ts";
import { Passing } from "../../src/mirror/passing.ts";
import { RelayReader } from "../../src/mirror/relayreader.ts";
import { Relays } from "../../src/mirror/relays.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import { algorithmOf, type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import { BARRIER_BYTES } from "../../src/store/blobstore.ts";
import { ManualClock } from "../kit/clock.ts";
import { BufferContent, type Content, seededBytes, VirtualContent } from "../kit/content.ts";
import { POLICY, recorded } from "./parts.ts";
import { ScriptedUpstream } from "./scripted-upstream.ts";

const MIB = 1024 * 1024;

async function breathe(turns = 30): Promise<void> {
  for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

function scene(content: Content) {
  const clock = new ManualClock();
  const upstream = new ScriptedUpstream(content, clock);
  const source = { name: "docker.io", upstream, freshness: POLICY, maxPasses: 1, segments: 1 };
  const route = makeRoute(source, parseRepository("library/demo"));
  const { notices, facts: mismatches } = recorded("digestMismatch");
  const relays = new Relays({ clock, notices });
  const passing = new Passing(new LocalPasses(), relays);
  const open = async (digest: Digest, signal = new AbortController().signal) => {
    const opened = await passing.openVerified(route, digest, undefined, () => undefined, { signal });
    return "absent" in opened ? assert.fail("absent") : opened.body;
  };
  return { clock, upstream, route, relays, open, mismatches };
}

/** What a client has read, and how it ended. */
function reading(body: Readable) {
  const state = { bytes: 0, ended: false, error: undefined as Error | undefined, hash: createHash("sha256") };
  body.on("data", (chunk: Buffer) => {
    state.bytes += chunk.length;
    state.hash.update(chunk);
  });
  body.once("end", () => {
    state.ended = true;
  });
  body.once("error", (error) => {
    state.error = error;
  });
  return state;
}

/** What came out before the end, and how it ended, of one body in such chunks. */
async function pass(chunks: readonly Buffer[], digest: Digest, announced: number) {
  const { relays, route, upstream, clock } = scene(new BufferContent(Buffer.alloc(0)));
  upstream.answering = () => new Failure("denied", "not again");
  const flow = {
    pour(sink: { space(): Uint8Array; filled(count: number): boolean }, done: (error: Error | undefined) => void) {
      try {
        for (const chunk of chunks) {
          for (let at = 0; at < chunk.length; ) {
            const space = sink.space();
            const count = Math.min(space.length, chunk.length - at);
            space.set(chunk.subarray(at, at + count));
            sink.filled(count);
            at += count;
          }
        }
        done(undefined);
      } catch (error) {
        done(error as Error);
      }
    },
    resume() {},
    destroy() {},
  };
  const arrival = { startByte: 0, bodyBytes: announced, sizeBytes: announced, body: flow };
  const subject = { route, digest, sizeBytes: announced };
  const relay = relays.open(subject, { start: 0, hash: createHash(algorithmOf(digest)), arrival });
  const body = new RelayReader(0, announced);
  relay.join(body);
  const out: Buffer[] = [];
  let error: unknown;
  const read = async () => {
    for await (const chunk of body) out.push(chunk as Buffer);
  };
  await clock.during(
    read().catch((thrown: unknown) => {
      error = thrown;
    }),
  );
  assert.equal(relays.size, 0);
  return { bytes: Buffer.concat(out), error };
}

function chunked(bytes: Buffer, lengths: readonly number[]): Buffer[] {
  const chunks: Buffer[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const length = Math.max(1, lengths[turn % lengths.length] ?? 1);
    chunks.push(bytes.subarray(at, at + length));
    at += length;
  }
  return chunks;
}

const size = fc.oneof(fc.nat(900_000), fc.constantFrom(0, 1, BARRIER_BYTES - 1, BARRIER_BYTES, BARRIER_BYTES + 1));
const lengths = fc.array(fc.integer({ min: 100, max: 300_000 }), { minLength: 1, maxLength: 6 });

test("right content passes whole, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(size, lengths, async (sizeBytes, cuts) => {
      const bytes = seededBytes(sizeBytes, 7);
      const passed = await pass(chunked(bytes, cuts), digestOf(bytes), sizeBytes);
      assert.equal(passed.error, undefined);
      assert.ok(passed.bytes.equals(bytes));
    }),
    { numRuns: 60 },
  );
});

test("the last 64 KiB of wrong content never come out, however it is cut", async () => {
  await fc.assert(
    fc.asyncProperty(size, lengths, async (sizeBytes, cuts) => {
      fc.pre(sizeBytes > 0);
      const bytes = seededBytes(sizeBytes, 7);
      const passed = await pass(chunked(bytes, cuts), digestOf(Buffer.from("something else")), sizeBytes);
      assert.ok(isFailure(passed.error, "corrupt"));
      assert.ok(passed.bytes.length <= Math.max(0, sizeBytes - BARRIER_BYTES));
      assert.ok(passed.bytes.equals(bytes.subarray(0, passed.bytes.length)));
    }),
    { numRuns: 60 },
  );
});

test("content that ends short or goes on too long does not come to its end", async () => {
  const bytes = seededBytes(200_000);
  const digest = digestOf(bytes);
  for (const wrong of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.from("x")]), Buffer.alloc(0)]) {
    const passed = await pass(chunked(wrong, [10_000]), digest, bytes.length);
    assert.ok(isFailure(passed.error));
    assert.ok(passed.bytes.length <= bytes.length - BARRIER_BYTES);
  }
});

test("a sha512 digest is verified as one", async () => {
  const bytes = seededBytes(1000);
  assert.ok((await pass([bytes], digestOf(bytes, "sha512"), bytes.length)).bytes.equals(bytes));
});

test("bytes before the last 64 KiB come out while the rest is still awaited", async () => {
  const content = new VirtualContent(200_000, 5);
  const { upstream, open } = scene(content);
  const opened = open(content.digest);
  await breathe(2);
  upstream.requests[0]?.send(150_000, false);
  const body = await opened;
  const state = reading(body);
  await breathe();
  assert.equal(state.bytes, 200_000 - BARRIER_BYTES);
  body.destroy();
});

test("clients that ask for one blob within a moment share one body, and all have it whole", async () => {
  const content = new VirtualContent(20 * MIB, 31);
  const { upstream, open, relays, clock } = scene(content);
  const first = await Promise.all(Array.from({ length: 9 }, () => open(content.digest)));
  const states = first.map(reading);
  upstream.requests[0]?.send(200_000, false);
  await breathe();
  assert.ok((states[0]?.bytes ?? 0) > 0);
  // Its first byte is still at hand.
  states.push(reading(await open(content.digest)));
  upstream.requests[0]?.send();
  for (let turn = 0; turn < 100 && !states.every(({ ended }) => ended); turn += 1) await breathe(5);
  assert.deepEqual(
    states.map(({ bytes, hash }) => [bytes, `sha256:${hash.digest("hex")}`]),
    states.map(() => [content.sizeBytes, content.digest]),
  );
  assert.equal(upstream.requests.length, 1);
  assert.deepEqual([relays.size, clock.pending], [0, 0]);
});

test("who comes when the first byte is gone has a body of his own", async () => {
  const content = new VirtualContent(20 * MIB, 32);
  const { upstream, open, relays } = scene(content);
  const early = await open(content.digest);
  const state = reading(early);
  upstream.requests[0]?.send(12 * MIB, false);
  await breathe(100);
  assert.ok(state.bytes > MIB);
  const late = await open(content.digest);
  assert.equal(upstream.requests.length, 2);
  assert.equal(relays.size, 2);
  early.destroy();
  late.destroy();
  assert.equal(relays.size, 0);
});

test("the slowest reader pauses the body, what is held is bounded, and after a while he goes on by himself", async () => {
  const content = new VirtualContent(40 * MIB, 33);
  const { upstream, open, relays, clock } = scene(content);
  const [fast, slow] = await Promise.all([open(content.digest), open(content.digest)]);
  assert.ok(fast !== undefined && slow !== undefined);
  const quick = reading(fast);
  // A little of it, and then nothing.
  slow.once("readable", () => slow.read(100_000));
  upstream.requests[0]?.send();
  for (let turn = 0; turn < 20; turn += 1) await breathe();
  const held = quick.bytes;
  assert.ok(held < 10 * MIB, `it was not held: ${held}`);
  await clock.advance(4999);
  assert.ok(quick.bytes - held < 2 * MIB);
  await clock.advance(1);
  for (let turn = 0; turn < 100 && !quick.ended; turn += 1) await breathe();

  assert.ok(quick.ended);
  assert.equal(upstream.requests.length, 2);
  const second = upstream.requests[1];
  assert.ok((second?.start ?? 0) > 0, "he goes on from where he was");
  assert.equal(relays.size, 1);
  // And he has everything, verified, from two bodies.
  const state = { bytes: 0, hash: createHash("sha256") };
  slow.on("data", (chunk: Buffer) => {
    state.bytes += chunk.length;
    state.hash.update(chunk);
  });
  second?.send();
  for (let turn = 0; turn < 100 && !slow.readableEnded; turn += 1) await breathe();
  assert.ok(slow.readableEnded, "its end was verified, with the hash of what came before");
  assert.deepEqual([relays.size, clock.pending], [0, 0]);
});

test("one reader alone may be as slow as he likes", async () => {
  const content = new VirtualContent(40 * MIB, 34);
  const { upstream, open, clock, relays } = scene(content);
  const body = await open(content.digest);
  body.once("readable", () => body.read(100_000));
  upstream.requests[0]?.send();
  await breathe(100);
  await clock.advance(60_000);
  assert.equal(body.destroyed, false);
  assert.equal(upstream.requests.length, 1);
  body.destroy();
  assert.deepEqual([relays.size, clock.pending], [0, 0]);
});

test("a body that breaks is taken up at the byte it reached, for all of them", async () => {
  const content = new VirtualContent(10 * MIB, 35);
  const { upstream, open, clock, relays } = scene(content);
  const states = (await Promise.all([open(content.digest), open(content.digest)])).map(reading);
  upstream.requests[0]?.send(6 * MIB, false);
  await breathe(100);
  upstream.requests[0]?.break();
  await breathe();
  await clock.advance(2000);
  assert.equal(upstream.requests.length, 2);
  assert.equal(upstream.requests[1]?.start, 6 * MIB);
  upstream.requests[1]?.send();
  for (let turn = 0; turn < 100 && !states.every(({ ended }) => ended); turn += 1) await breathe(5);
  for (const state of states) assert.equal(`sha256:${state.hash.digest("hex")}`, content.digest);
  assert.deepEqual([relays.size, clock.pending], [0, 0]);
});

test("an upstream that ignores the range sends again what is dropped", async () => {
  const content = new VirtualContent(4 * MIB, 36);
  const { upstream, open, clock } = scene(content);
  const state = reading(await open(content.digest));
  upstream.requests[0]?.send(2 * MIB, false);
  await breathe(100);
  upstream.answering = () => "ignore the range";
  upstream.requests[0]?.break();
  await breathe();
  await clock.advance(2000);
  upstream.requests[1]?.send();
  for (let turn = 0; turn < 100 && !state.ended; turn += 1) await breathe(5);
  assert.equal(`sha256:${state.hash.digest("hex")}`, content.digest);
});

test("wrong content is told, and ends nobody's answer", async () => {
  const content = new VirtualContent(MIB, 37);
  const { upstream, open, mismatches, relays } = scene(content);
  const other = digestOf(Buffer.from("another"));
  const states = (await Promise.all([open(other), open(other)])).map(reading);
  upstream.requests[0]?.send();
  for (let turn = 0; turn < 50 && states.some(({ error }) => error === undefined); turn += 1) await breathe();
  for (const { bytes, error, ended } of states) {
    assert.ok(isFailure(error, "corrupt"));
    assert.ok(bytes <= MIB - BARRIER_BYTES && !ended);
  }
  assert.equal(mismatches.length, 1);
  assert.equal(relays.size, 0);
});

test("the upstream is left as soon as the last reader has left, be it before it answers", async () => {
  const content = new VirtualContent(20 * MIB, 38);
  const { upstream, open, relays, clock } = scene(content);
  const bodies = await Promise.all([open(content.digest), open(content.digest)]);
  upstream.requests[0]?.send(MIB, false);
  await breathe();
  bodies[0]?.destroy();
  await breathe();
  assert.equal(upstream.running.length, 1);
  bodies[1]?.destroy();
  await breathe();
  assert.equal(upstream.running.length, 0);

  const leaving = new AbortController();
  const asked = open(content.digest, leaving.signal);
  leaving.abort(new Error("gone"));
  await assert.rejects(asked, /gone/);
  await breathe();
  assert.equal(upstream.running.length, 0);
  assert.deepEqual([relays.size, clock.pending], [0, 0]);
});

test("one who leaves while the upstream is asked takes nothing from the other", async () => {
  const content = new VirtualContent(MIB, 39);
  const { upstream, open } = scene(content);
  const leaving = new AbortController();
  const first = open(content.digest, leaving.signal);
  const second = open(content.digest);
  leaving.abort(new Error("gone"));
  await assert.rejects(first, /gone/);
  const state = reading(await second);
  upstream.requests[0]?.send();
  for (let turn = 0; turn < 50 && !state.ended; turn += 1) await breathe();
  assert.ok(state.ended);
  assert.equal(upstream.requests.length, 1);
});
