/**
 * Our own limits on an upstream, through the whole mirror: who waits is served in turn, and too many are told to come again.
 */
import assert from "node:assert/strict";
import { ManualClock } from "../kit/clock.ts";
import { seededBytes } from "../kit/content.ts";
import { get, open } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { testInOneProcess } from "../kit/workers.ts";

const test = testInOneProcess("needs this process's clock");

const KIB = 1024;
const layer = seededBytes(1024 * KIB, 3);
const image = makeImage({ layers: [layer] });

interface Stage {
  readonly upstream: TestUpstream;
  readonly mirror: TestMirror;
  readonly clock: ManualClock;
  readonly urls: readonly string[];
}

async function limited(limits: object, run: (stage: Stage) => Promise<void>): Promise<void> {
  const clock = new ManualClock();
  await using upstream = await TestUpstream.start();
  for (let at = 0; at < 12; at++) upstream.shelves.add("library/demo", image, `v${at}`);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, upstream: { limits }, clock });
  const urls = Array.from({ length: 12 }, (_, at) => `${mirror.url}/v2/library/demo/manifests/v${at}`);
  await run({ upstream, mirror, clock, urls });
}

test("no more requests go upstream in a second than allowed, and everybody is served in the end", async () => {
  await limited({ requestsPerSecond: 4 }, async ({ upstream, clock, urls }) => {
    const before = clock.now();
    const answers = await clock.during(Promise.all(urls.map((url) => get(url))));
    for (const answer of answers) assert.deepEqual(answer.body, image.manifest);
    // One manifest for all, and a HEAD for each of twelve tags: the first four at once.
    assert.ok(upstream.requests.length >= 13, `${upstream.requests.length}`);
    const elapsedMs = clock.now() - before;
    assert.ok(
      upstream.requests.length <= 4 + (4 * elapsedMs) / 1000 + 1,
      `${upstream.requests.length} in ${elapsedMs} ms`,
    );
  });
});

test("who would wait too long for a turn is told when to come again", async () => {
  await limited({ requestsPerSecond: 0.2 }, async ({ upstream, clock, urls, mirror }) => {
    const before = openResources();
    const answers = await clock.during(Promise.all(urls.map((url) => get(url))));
    const turnedAway = answers.filter(({ status }) => status === 503);
    assert.ok(turnedAway.length >= 6, answers.map(({ status }) => status).join());
    for (const answer of turnedAway) {
      assert.match(String(answer.headers["retry-after"]), /^\d+$/);
      assert.match(answer.body.toString(), /upstreams\.docker\.io\.limits\.requestsPerSecond/);
    }
    assert.ok(upstream.requests.length <= 12);
    await mirror.mirror.stop();
    assert.deepEqual(await residueSince(before), []);
    assert.equal(clock.pending, 0);
  });
});

test("bodies bring no more bytes in a second than allowed, and the right ones", async () => {
  await limited({ bandwidth: "256KiB" }, async ({ clock, mirror, urls: [tag = ""] }) => {
    const [descriptor] = image.layers;
    assert.ok(descriptor !== undefined);
    await clock.during(get(tag));
    const before = clock.now();
    const answer = await clock.during(open(`${mirror.url}/v2/library/demo/blobs/${descriptor.digest}`));
    const whole = (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
      return Buffer.concat(chunks);
    })();
    assert.equal((await clock.during(whole)).compare(layer), 0);
    const elapsedMs = clock.now() - before;
    assert.ok(elapsedMs >= 3500, `a mebibyte came in ${elapsedMs} ms`);
  });
});

test("a body that nobody wants any more gives its share back, and leaves nothing", async () => {
  await limited({ bandwidth: "64KiB", connections: 1 }, async ({ clock, mirror, urls: [tag = ""] }) => {
    const before = openResources();
    const [descriptor] = image.layers;
    assert.ok(descriptor !== undefined);
    await clock.during(get(tag));
    const leaving = new AbortController();
    const url = `${mirror.url}/v2/library/demo/blobs/${descriptor.digest}`;
    const left = get(url, { signal: leaving.signal });
    await clock.advance(500);
    leaving.abort();
    await left;
    await mirror.mirror.stop();
    assert.deepEqual(await mirror.partials(), []);
    assert.deepEqual(await residueSince(before), []);
    assert.equal(clock.pending, 0);
  });
});
