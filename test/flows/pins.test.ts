/** Pins from outside: by HTTP and by command, for what is cached and for what will be, all of it or some platforms. */
import assert from "node:assert/strict";
import test from "node:test";
import type { ImagesAnswer } from "../../src/api/images.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { openRooms } from "../meta/rooms.ts";
import { ask, command, pull, settled } from "./holdings-stage.ts";

const FRESH = { freshness: { tags: 0, staleWhileRevalidate: 0 } };

/** What could be evicted, as the index has it when no mirror runs. */
function victimsIn(dir: string): string[] {
  const rooms = openRooms(`${dir}/v1`);
  try {
    return new Holdings(rooms.database, rooms).findVictims(1000).map(({ digest }) => digest);
  } finally {
    rooms.database.close();
  }
}

test("what is pinned cannot be evicted, follows its tag, and survives restarts", async () => {
  await using dir = await makeTempDir("pins");
  await using upstream = await TestUpstream.start();
  const [old, fresh] = [makeImage({ seed: 1 }), makeImage({ seed: 2 })];
  upstream.shelves.add("library/app", old, "1");
  const baseline = openResources();
  {
    await using mirror = await TestMirror.start({
      upstreams: { "docker.io": upstream },
      upstream: FRESH,
      dir: dir.path,
    });
    await pull(mirror, "library/app", old, "1");
    const said = await command(dir.path, ["pin", "app:1"]);
    assert.equal(said.code, 0, said.stderr);
    assert.equal(said.stdout, "pinned docker.io/library/app:1\n");
    const list = await ask<ImagesAnswer>(mirror, "/api/v1/images");
    assert.equal(list.images[0]?.pinned, true);
  }
  assert.deepEqual(victimsIn(dir.path), []);
  {
    upstream.shelves.add("library/app", fresh, "1");
    await using mirror = await TestMirror.start({
      upstreams: { "docker.io": upstream },
      upstream: FRESH,
      dir: dir.path,
    });
    await pull(mirror, "library/app", fresh, "1");
  }
  assert.deepEqual(victimsIn(dir.path), [old.digest]);
  const listed = await command(dir.path, ["pin"]);
  assert.match(listed.stdout, /^IMAGE +PLATFORMS +PINNED +CACHED\ndocker\.io\/library\/app:1 +all .* yes\n$/);
  assert.equal((await command(dir.path, ["unpin", "app:1"])).code, 0);
  assert.deepEqual(victimsIn(dir.path).sort(), [old.digest, fresh.digest].sort());
  const again = await command(dir.path, ["unpin", "app:1"]);
  assert.equal(again.code, 3);
  assert.match(again.stderr, /docker\.io\/library\/app:1 is not pinned/);
  assert.deepEqual(await residueSince(baseline), []);
});

test("what is not cached is pinned for when it comes, and that is told", async () => {
  await using dir = await makeTempDir("pins");
  await using upstream = await TestUpstream.start();
  const image = makeImage({ seed: 3 });
  upstream.shelves.add("library/app", image, "1");
  await (await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: dir.path })).mirror.stop();
  const said = await command(dir.path, ["pin", "app:1", `app@${image.digest}`]);
  assert.equal(said.code, 0);
  assert.match(said.stderr, /nothing is cached of docker\.io\/library\/app:1 yet; .*wharfinger warm/);
  {
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: dir.path });
    assert.equal((await get(`${mirror.url}/v2/library/app/manifests/1`)).status, 200);
    await settled(mirror);
    assert.match((await command(dir.path, ["pin"])).stdout, /app:1 .* partly$/m, "the manifest alone");
    const partly = await command(dir.path, ["pin", "app:1"]);
    assert.match(partly.stderr, /^wharfinger: 4 of the manifests and layers of .*app:1 are not cached yet; /);
    await pull(mirror, "library/app", image, "1");
    assert.match((await command(dir.path, ["pin"])).stdout, /app:1 .* yes$/m);
    const { pins } = await ask<{ pins: { reference: string; cached: boolean }[] }>(mirror, "/api/v1/pins");
    assert.deepEqual(
      pins.map(({ cached }) => cached),
      [true, true],
    );
  }
  assert.deepEqual(victimsIn(dir.path), []);
});

test("of an image that is pinned for one platform the others may leave, also when the tag moves", async () => {
  await using dir = await makeTempDir("pins");
  await using upstream = await TestUpstream.start();
  const version = (seed: number) =>
    [makeImage({ seed }), makeImage({ seed: seed + 1, architecture: "arm64" })] as const;
  const [amd, arm] = version(10);
  const [amd2, arm2] = version(20);
  const first = makeIndex([amd, arm]);
  const second = makeIndex([amd2, arm2]);
  upstream.shelves.add("library/multi", first, "1");
  const start = () => TestMirror.start({ upstreams: { "docker.io": upstream }, upstream: FRESH, dir: dir.path });
  {
    await using mirror = await start();
    await pull(mirror, "library/multi", first, "1");
    const wrong = await command(dir.path, ["pin", "multi:1", "--platform", "linux/riscv64"]);
    assert.equal(wrong.code, 3);
    assert.match(wrong.stderr, /is not for linux\/riscv64; it is for linux\/amd64, linux\/arm64/);
    assert.match((await command(dir.path, ["pin"])).stdout, /nothing is pinned/);
    await command(dir.path, ["pin", "multi:1", "--platform", "linux/arm64"]);
    const wider = await command(dir.path, ["pin", "multi:1"]);
    assert.match(wider.stderr, /multi:1 was pinned for linux\/arm64: it is for all platforms now\n/);
    const said = await command(dir.path, ["pin", "multi:1", "--platform", "linux/amd64"]);
    assert.equal(said.stdout, "pinned docker.io/library/multi:1 (linux/amd64)\n");
  }
  assert.deepEqual(victimsIn(dir.path), [arm.digest]);
  {
    upstream.shelves.add("library/multi", second, "1");
    await using mirror = await start();
    await pull(mirror, "library/multi", second, "1");
  }
  assert.deepEqual(victimsIn(dir.path).sort(), [arm2.digest, first.digest].sort(), "the old index is whole again");
  await command(dir.path, ["unpin", "multi:1"]);
  assert.deepEqual(victimsIn(dir.path).sort(), [second.digest, first.digest].sort());
});

test("nonsense is refused, and changes nothing", async () => {
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": "http://192.0.2.1:1" } });
  const put = async (body: string) => {
    const headers = { "content-type": "application/json" };
    return (await get(`${mirror.adminUrl}/api/v1/pins`, { method: "PUT", headers, body })).status;
  };
  for (const body of [
    "{}",
    '{"reference":""}',
    '{"reference":"UPPER"}',
    '{"reference":"a:b:c"}',
    '{"reference":"app@sha256:12"}',
    '{"reference":"app","platforms":["linux"]}',
    '{"reference":"app","platforms":"linux/amd64"}',
    '{"reference":"app","odd":1}',
    '{"reference":"../../etc"}',
  ]) {
    assert.equal(await put(body), 400, body);
  }
  assert.deepEqual(await ask(mirror, "/api/v1/pins"), { pins: [] });
});

test("a full cache lets go of everything but what is pinned", async () => {
  await using dir = await makeTempDir("pins");
  await using upstream = await TestUpstream.start();
  const kept = makeImage({ seed: 50 });
  const others = [51, 52, 53, 54, 55].map((seed) => makeImage({ seed }));
  upstream.shelves.add("library/kept", kept, "1");
  for (const [at, image] of others.entries()) upstream.shelves.add("library/other", image, `${at}`);
  const config = { cache: { maxSize: 1_000_000 } };
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config, dir: dir.path });
  await pull(mirror, "library/kept", kept, "1");
  await command(dir.path, ["pin", "kept:1"]);
  for (const [at, image] of others.entries()) await pull(mirror, "library/other", image, `${at}`);
  const { images } = await ask<ImagesAnswer>(mirror, "/api/v1/images");
  assert.ok(images.length < 1 + others.length, "something left");
  upstream.forgetRequests();
  await pull(mirror, "library/kept", kept, "1");
  assert.equal(upstream.count({ method: "GET" }), 0);
});
