/**
 * Large blobs from an upstream whose connections are slow: several of them, each byte once, the same to clients.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { VirtualContent } from "../kit/content.ts";
import type { RecordedRequest } from "../kit/faults.ts";
import { getHashed } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const content = new VirtualContent(80 * MIB + 5, 71);

/** An upstream far away, with slow connections, and a mirror that has been asked for the manifest. */
async function slow() {
  const image = makeImage({ layers: [content], seed: 71 });
  const upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  upstream.fault({ method: "HEAD" }, { delayHeadersMs: 40 });
  upstream.fault({ kind: "blob", method: "GET" }, { bytesPerSecond: 25 * MIB });
  const mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  await getHashed(`${mirror.url}/v2/demo/manifests/1`);
  const gets = () => upstream.matching({ kind: "blob", method: "GET" });
  return {
    upstream,
    mirror,
    gets,
    url: `${mirror.url}/v2/demo/blobs/${content.digest}`,
    [Symbol.asyncDispose]: async () => {
      await mirror[Symbol.asyncDispose]();
      await upstream.close();
    },
  };
}

function assertOnce(gets: readonly RecordedRequest[]): void {
  const ranges = gets.map(({ headers }) => /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? "") ?? assert.fail("no range"));
  const sorted = ranges.map((match) => [Number(match[1]), Number(match[2])] as const).sort((a, b) => a[0] - b[0]);
  let at = 0;
  for (const [first, last] of sorted) {
    assert.equal(first, at);
    at = last + 1;
  }
  assert.equal(at, content.sizeBytes);
  assert.equal(
    gets.reduce((sum, { bodyBytes }) => sum + bodyBytes, 0),
    content.sizeBytes,
  );
}

test("clients of a blob that comes in pieces get the right bytes, and the upstream sends each byte once", async () => {
  await using made = await slow();
  const clients = [getHashed(made.url), getHashed(made.url), getHashed(made.url, { joinDelayMs: 300 })];
  for (const answer of await Promise.all(clients)) {
    assert.ok(answer.complete);
    assert.equal(answer.digest, content.digest);
  }
  await made.mirror.settled();
  assertOnce(made.gets());
  assert.ok((await made.mirror.stored()).includes(content.digest.slice(7)));
});

test("a wrong byte in a piece in the middle: no client gets a complete body, and nothing of it is kept", async () => {
  await using made = await slow();
  const lift = made.upstream.fault({ kind: "blob" }, { flipAtByte: 30 * MIB });
  const answer = await getHashed(made.url);
  assert.ok(!answer.complete);
  await made.mirror.settled();
  assert.ok(!(await made.mirror.stored()).includes(content.digest.slice(7)));
  lift();
});

test("a stop while pieces come leaves what has no gap, and no socket and no thread", async () => {
  const baseline = openResources();
  {
    await using made = await slow();
    const pull = getHashed(made.url);
    await made.upstream.waitFor({ kind: "blob", method: "GET", ranged: true }, 2);
    await made.mirror.mirror.stop();
    assert.equal((await pull).complete, false);
    const kept = await made.mirror.keptBytes();
    assert.deepEqual([...kept.keys()], [content.digest.slice(7)]);
    assert.ok(!(await made.mirror.stored()).includes(content.digest.slice(7)));
  }
  assert.deepEqual(await residueSince(baseline), []);
});
