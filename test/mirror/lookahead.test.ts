/** Connections that came too far ahead of the first missing byte wait, and come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Download } from "../../src/mirror/download.ts";
import { Pace } from "../../src/mirror/pace.ts";
import { makeRoute } from "../../src/mirror/route.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import type { Ingest, Lane } from "../../src/store/blobstore.ts";
import { ManualClock } from "../kit/clock.ts";
import type { Content } from "../kit/content.ts";
import { POLICY } from "./parts.ts";
import { ScriptedUpstream } from "./scripted-upstream.ts";

const MIB = 1024 * 1024;
const block = Buffer.alloc(MIB);

/** Too much to hash and write for a test of who asks for what. */
const content: Content = {
  digest: digestOf(block),
  sizeBytes: 480 * MIB,
  *read(start, end) {
    for (let at = start; at < end; at += MIB) yield block.subarray(0, Math.min(MIB, end - at));
  },
};

function unused(): never {
  throw new Error("a download does not need this");
}

/** Counts what comes, and keeps none of it. */
class CountingIngest implements Ingest {
  readonly digest = content.digest;
  readonly file = "";
  readonly sizeBytes = content.sizeBytes;
  receivedBytes = 0;

  declareSize(sizeBytes: number): void {
    assert.equal(sizeBytes, this.sizeBytes);
  }

  lane(start: number, end = this.sizeBytes): Lane {
    let position = start;
    return {
      get position() {
        return position;
      },
      get isFull() {
        return position >= end;
      },
      space: () => block.subarray(0, Math.max(1, end - position)),
      filled: (count) => {
        position += count;
        this.receivedBytes += count;
        return true;
      },
      onDrain: unused,
      close() {},
    };
  }

  write = unused;
  onDrain = unused;
  finish = unused;
  onFailure = unused;
  fail = unused;
  suspend = unused;
  written = unused;
  follow = unused;
  visible = unused;
  close = unused;
}

test("connections that waited for the first missing byte come back as it moves, and when its piece is there", async () => {
  const clock = new ManualClock();
  const upstream = new ScriptedUpstream(content, clock);
  const source = { name: "docker.io", upstream, freshness: POLICY, maxPasses: 1, segments: 4 };
  const ingest = new CountingIngest();
  const abort = new AbortController();
  const download = new Download({
    route: makeRoute(source, parseRepository("library/demo")),
    digest: content.digest,
    sizeHint: content.sizeBytes,
    signal: abort.signal,
    clock,
    pace: new Pace(),
    awaited: () => true,
    begin: async () => ({ ingest, limitBytes: Number.POSITIVE_INFINITY }),
    resumed: unused,
  });
  const until = async (holds: () => boolean) => {
    const deadline = performance.now() + 10_000;
    while (!holds()) {
      if (performance.now() > deadline) throw new Error("it did not come to that");
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const sent = () => upstream.requests.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  const arrived = () => until(() => ingest.receivedBytes === sent());
  const tick = async (bytes: number) => {
    for (let count = 0; count < 3; count += 1) {
      for (const request of upstream.running) request.send(bytes);
      await arrived();
      await clock.advance(250);
    }
  };
  const running = download.run();
  running.catch(() => {});
  await until(() => upstream.requests.length === 1);
  await tick(100_000);
  await until(() => upstream.running.length === 2);
  await tick(100_000);
  await until(() => upstream.running.length === 4);

  const [slow] = upstream.requests;
  assert.ok(slow !== undefined);
  for (const others = () => upstream.running.filter((request) => request !== slow); others().length > 0; ) {
    for (const request of others()) request.send();
    await until(() =>
      upstream.requests.every((request) => request === slow || request.over || request.sentBytes === 0),
    );
    await arrived();
    // Whoever goes on has asked by then.
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.deepEqual(upstream.running, [slow]);

  slow.send(15 * MIB);
  await arrived();
  await clock.advance(250);
  await clock.advance(250);
  await clock.advance(250);
  await until(() => upstream.running.length === 2);

  slow.send();
  await until(() => upstream.running.length === 4);

  while (ingest.receivedBytes < content.sizeBytes) {
    for (const request of upstream.running) request.send();
    await arrived();
    for (let turn = 0; turn < 10; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(await running, undefined);
  assert.equal(sent(), content.sizeBytes);
  assert.equal(clock.pending, 0);
});
