/** One image from near, by HTTP and by `wharfinger inspect`. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Inspected } from "../../src/api/image.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { ask, command, pull, settled } from "./holdings-stage.ts";

const SHARED = Buffer.alloc(40_000, "shared");

test("platforms, layers, who else needs them, referrers, freshness and pins are told", async () => {
  await using dir = await makeTempDir("inspect");
  await using upstream = await TestUpstream.start();
  const amd = makeImage({ seed: 1, layers: [SHARED, 1000] });
  const arm = makeImage({ seed: 2, layers: [2000], architecture: "arm64" });
  const index = makeIndex([amd, arm]);
  const other = makeImage({ seed: 3, layers: [SHARED] });
  const signature = makeImage({
    seed: 4,
    layers: [300],
    subject: index.descriptor,
    artifactType: "application/x-signature",
  });
  upstream.shelves.add("library/app", index, "1");
  upstream.shelves.add("library/other", other, "2");
  upstream.shelves.add("library/app", signature);
  const baseline = openResources();
  {
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, dir: dir.path });
    const fetch = async (path: string) => assert.equal((await get(`${mirror.url}/v2/library/${path}`)).status, 200);
    await fetch("app/manifests/1");
    await pull(mirror, "library/app", amd);
    await pull(mirror, "library/other", other, "2");
    await pull(mirror, "library/app", signature);
    await command(dir.path, ["pin", "app:1"]);
    const found = await ask<Inspected>(mirror, "/api/v1/image?reference=app:1");
    assert.equal(found.reference, "docker.io/library/app:1");
    assert.equal(found.image.digest, index.digest);
    assert.equal(found.image.pinned, true);
    assert.deepEqual(
      found.pins.map(({ reference }) => reference),
      ["docker.io/library/app:1"],
    );
    assert.deepEqual(
      found.platforms.map(({ platform, cached }) => [platform, cached]),
      [
        ["linux/amd64", "whole"],
        ["linux/arm64", "no"],
      ],
    );
    assert.equal(found.freshness?.state, "fresh");
    const shared = found.layers.find(({ digest }) => digest === amd.layers[0]?.digest);
    assert.deepEqual(shared?.users, ["docker.io/library/other:2"]);
    assert.equal(shared?.cached, true);
    assert.deepEqual(shared?.platforms, ["linux/amd64"]);
    assert.deepEqual(found.layers.find(({ digest }) => digest === amd.layers[1]?.digest)?.users, []);
    assert.deepEqual(
      found.referrers.map(({ digest, artifactType }) => [digest, artifactType]),
      [[signature.digest, "application/x-signature"]],
    );
    const byDigest = await ask<Inspected>(mirror, `/api/v1/image?reference=app@${index.digest}`);
    assert.equal(byDigest.freshness, null);
  }
  const shown = await command(dir.path, ["inspect", "docker.io/library/app:1"]);
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /^docker\.io\/library\/app:1\n {2}digest +sha256:/);
  assert.match(shown.stdout, /^ {2}tag +fresh; confirmed /m);
  assert.match(shown.stdout, /^ {2}pinned +docker\.io\/library\/app:1$/m);
  assert.match(shown.stdout, /^linux\/amd64 +sha256:\w{12} +[\d.]+KiB +whole$/m);
  assert.match(shown.stdout, /^linux\/arm64 .* no$/m);
  assert.match(shown.stdout, /^sha256:\w{12} +[\d.]+KiB +yes +docker\.io\/library\/other:2$/m);
  assert.match(shown.stdout, /application\/x-signature/);
  const json = JSON.parse((await command(dir.path, ["inspect", "app:1", "--json"])).stdout);
  assert.equal(json.format, "wharfinger-inspect/1");
  assert.equal(json.image.digest, index.digest);
  for (const missing of ["app:2", "nothing", `other@${amd.digest}`, "quay.io/org/app"]) {
    const said = await command(dir.path, ["inspect", missing]);
    assert.equal(said.code, 3, missing);
    assert.match(said.stderr, /is not cached/);
  }
  for (const bad of ["UPPER", "a:b:c", "app@sha256:1"]) {
    assert.equal((await command(dir.path, ["inspect", bad])).code, 2, bad);
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("an image of which pieces are missing says so", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ seed: 5, layers: [5000, 7000] });
  upstream.shelves.add("library/part", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  for (const path of ["manifests/1", `blobs/${image.layers[0]?.digest}`]) {
    assert.equal((await get(`${mirror.url}/v2/library/part/${path}`)).status, 200);
  }
  await settled(mirror);
  const found = await ask<Inspected>(mirror, "/api/v1/image?reference=part:1");
  assert.equal(found.platforms[0]?.cached, "partly");
  assert.equal(found.platforms[0]?.missingBytes, 7000 + image.config.sizeBytes);
  assert.deepEqual(
    found.layers.map(({ cached }) => cached),
    [false, true, false],
  );
});

test("offline an old tag is told to be served as it is, and nothing is said of asking", async () => {
  await using dir = await makeTempDir("inspect");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/app", makeImage({ seed: 6 }), "1");
  const parts = { upstreams: { "docker.io": upstream }, dir: dir.path };
  const freshness = { tags: "0s", staleIfError: "30d" };
  {
    await using mirror = await TestMirror.start({ ...parts, each: { "docker.io": { freshness } } });
    assert.equal((await get(`${mirror.url}/v2/library/app/manifests/1`)).status, 200);
    await settled(mirror);
    const online = await ask<Inspected>(mirror, "/api/v1/image?reference=app:1");
    assert.notEqual(online.freshness?.state, "offline");
  }
  {
    await using mirror = await TestMirror.start({
      ...parts,
      each: { "docker.io": { freshness } },
      config: { offline: true },
    });
    const offline = await ask<Inspected>(mirror, "/api/v1/image?reference=app:1");
    assert.equal(offline.freshness?.state, "offline");
    const said = await command(dir.path, ["inspect", "app:1"]);
    assert.match(said.stdout, /^ {2}tag +served as it is, offline; confirmed /m);
  }
});
