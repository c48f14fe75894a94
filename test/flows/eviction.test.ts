/**
 * A full cache lets go of what is worth least instead of passing new content by, and never holds more than it may.
 */
import assert from "node:assert/strict";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { seededBytes } from "../kit/content.ts";
import { FaultyFiles } from "../kit/faulty-files.ts";
import { getHashed } from "../kit/http.ts";
import { makeImage, type TestImage } from "../kit/image.ts";
import { TEST_WORKERS, TestMirror, type TestMirrorOptions } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const KIB = 1024;
/** Fronts tell once a second what was used. */
const usesTold = () => sleep(TEST_WORKERS > 1 ? 1500 : 0);
const imageOf = (seed: number, ...layers: (number | Buffer)[]) => makeImage({ seed, layers });

interface Pulled {
  readonly verdicts: readonly string[];
}

async function pull(mirror: TestMirror, name: string, image: TestImage): Promise<Pulled> {
  const pulled = await pullThrough(mirror, name, image);
  await mirror.settled();
  return pulled;
}

async function pullThrough(mirror: TestMirror, name: string, image: TestImage): Promise<Pulled> {
  const verdicts: string[] = [];
  const get = async (path: string, digest: string) => {
    const answer = await getHashed(`${mirror.url}/v2/${name}/${path}`);
    assert.equal(answer.status, 200);
    assert.equal(answer.digest, digest);
    verdicts.push(String(answer.headers["cache-status"]).replace(/^wharfinger; /, ""));
  };
  await get("manifests/1", image.digest);
  for (const { digest } of [image.config, ...image.layers]) await get(`blobs/${digest}`, digest);
  return { verdicts };
}

async function metric(mirror: TestMirror, name: string): Promise<number> {
  const text = await (await fetch(`${mirror.adminUrl}/metrics`)).text();
  const line = text.split("\n").find((each) => each.startsWith(`wharfinger_${name} `));
  return Number(line?.split(" ").at(-1));
}

async function withMirror(
  images: Readonly<Record<string, TestImage>>,
  options: Partial<TestMirrorOptions>,
  work: (mirror: TestMirror, upstream: TestUpstream) => Promise<void>,
): Promise<void> {
  await using upstream = await TestUpstream.start();
  for (const [name, image] of Object.entries(images)) upstream.shelves.add(`library/${name}`, image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, ...options });
  await work(mirror, upstream);
}

const isGone = async (mirror: TestMirror, image: TestImage) => {
  const stored = await mirror.stored();
  return [image.digest, ...image.layers.map(({ digest }) => digest)].every(
    (digest) => !stored.includes(digest.slice(7)),
  );
};

test("what is new takes the place of the image that was used least, all of it, and the limit holds", async () => {
  const images = {
    a: imageOf(1, 300 * KIB),
    b: imageOf(2, 300 * KIB),
    c: imageOf(3, 300 * KIB),
    d: imageOf(4, 300 * KIB),
  };
  const config = { cache: { maxSize: "1000KiB", highWatermark: "100%", lowWatermark: "100%" } };
  await withMirror(images, { config }, async (mirror) => {
    await pull(mirror, "a", images.a);
    await pull(mirror, "b", images.b);
    await pull(mirror, "c", images.c);
    // Again: it is worth more now.
    await pull(mirror, "a", images.a);
    await usesTold();
    const { verdicts } = await pull(mirror, "d", images.d);
    assert.ok(
      verdicts.every((verdict) => verdict.endsWith("stored")),
      verdicts.join("; "),
    );
    assert.ok(await isGone(mirror, images.b));
    assert.ok(!(await isGone(mirror, images.a)));
    assert.ok((await metric(mirror, "cache_size_bytes")) <= 1000 * KIB);
    assert.ok((await metric(mirror, 'evicted_bytes_total{reason="size"}')) >= 300 * KIB);
    assert.equal(await metric(mirror, 'evicted_blobs_total{reason="size"}'), 3);
    // It can be had again.
    await pull(mirror, "b", images.b);
  });
});

test("a layer that another image shares stays when one of them leaves", async () => {
  const shared = seededBytes(300 * KIB, 7);
  const images = { a: imageOf(1, shared, 100 * KIB), b: imageOf(2, shared, 100 * KIB), c: imageOf(3, 550 * KIB) };
  const config = { cache: { maxSize: "1000KiB", highWatermark: "100%", lowWatermark: "100%" } };
  await withMirror(images, { config }, async (mirror) => {
    await pull(mirror, "a", images.a);
    await pull(mirror, "b", images.b);
    await pull(mirror, "b", images.b);
    await pull(mirror, "c", images.c);
    const stored = await mirror.stored();
    const held = (digest: string | undefined) => stored.includes(String(digest).slice(7));
    assert.deepEqual([images.a.digest, images.a.layers[1]?.digest].map(held), [false, false]);
    assert.deepEqual([images.b.digest, images.b.layers[0]?.digest, images.b.layers[1]?.digest].map(held), [
      true,
      true,
      true,
    ]);
  });
});

test("a blob that is larger than the cache is passed through, and nothing leaves for it", async () => {
  const images = { a: imageOf(1, 300 * KIB), huge: imageOf(2, 1200 * KIB) };
  await withMirror(images, { config: { cache: { maxSize: "1000KiB" } } }, async (mirror) => {
    await pull(mirror, "a", images.a);
    const { verdicts } = await pull(mirror, "huge", images.huge);
    assert.equal(verdicts.at(-1), "fwd=bypass; detail=cache-full");
    assert.ok(!(await isGone(mirror, images.a)));
  });
});

test("a large image that was never seen does not take the place of what is used often, until it is as well", async () => {
  const often = Array.from({ length: 3 }, (_, at) => imageOf(10 + at, 250 * KIB));
  const images = { ...Object.fromEntries(often.map((image, at) => [`o${at}`, image])), huge: imageOf(2, 600 * KIB) };
  await withMirror(images, { config: { cache: { maxSize: "900KiB" } } }, async (mirror) => {
    for (let round = 0; round < 3; round += 1)
      for (const [at, image] of often.entries()) await pull(mirror, `o${at}`, image);
    await usesTold();
    const { verdicts } = await pull(mirror, "huge", images.huge);
    assert.match(verdicts.at(-1) ?? "", /^fwd=bypass; detail=(admission|cache-full)$/);
    for (const image of often) assert.ok(!(await isGone(mirror, image)));
  });
});

test("an upstream with a share of its own lets go of its own, and of nobody else's", async () => {
  await using hub = await TestUpstream.start();
  await using ghcr = await TestUpstream.start();
  const [own, a, b] = [imageOf(1, 300 * KIB), imageOf(2, 150 * KIB), imageOf(3, 150 * KIB)];
  hub.shelves.add("library/own", own, "1");
  ghcr.shelves.add("team/a", a, "1");
  ghcr.shelves.add("team/b", b, "1");
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": hub, "ghcr.io": ghcr },
    each: { "ghcr.io": { maxSize: "20%" } },
    config: { cache: { maxSize: "1000KiB" } },
  });
  await pull(mirror, "own", own);
  await pull(mirror, "ghcr.io/team/a", a);
  await pull(mirror, "ghcr.io/team/b", b);
  assert.ok(await isGone(mirror, a));
  assert.ok(!(await isGone(mirror, b)));
  assert.ok(!(await isGone(mirror, own)));
  assert.ok((await metric(mirror, 'evicted_bytes_total{reason="upstream-share"}')) > 150 * KIB);
});

test("where files would not go, what is there counts, pulls go on, and little is given up for nothing", async () => {
  const images = Object.fromEntries(Array.from({ length: 25 }, (_, at) => [`i${at}`, imageOf(at + 1, 100 * KIB)]));
  const files = new FaultyFiles();
  const config = { workers: 1, cache: { maxSize: "1MiB", highWatermark: "100%", lowWatermark: "100%" } };
  await withMirror(images, { config, files }, async (mirror) => {
    files.fail({ call: "unlink", errno: "EIO", path: "discarded" });
    for (const [name, image] of Object.entries(images)) {
      await pullThrough(mirror, name, image);
      const sizes = await Promise.all([...(await mirror.keptBytes()).values(), mirror.stored().then(sizeOf)]);
      assert.ok(sizes.reduce((sum, size) => sum + size) <= 1024 * KIB);
    }
    assert.ok((await mirror.stored()).length >= 10);
    async function sizeOf(names: readonly string[]): Promise<number> {
      const paths = names.map((hex) => join(mirror.dir, "v1", "blobs", "sha256", hex.slice(0, 2), hex));
      return (await Promise.all(paths.map((path) => stat(path)))).reduce((sum, { size }) => sum + size, 0);
    }
  });
});
