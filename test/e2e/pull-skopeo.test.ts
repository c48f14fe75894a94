/**
 * skopeo compares bytes: what comes through the mirror is what the origin has. Also the herd, and an origin that wants
 * credentials, which need nothing but skopeo.
 */
import { strict as assert } from "node:assert";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { makeImage, makeIndex, type TestImage, type TestIndex } from "../kit/image.ts";
import { filesUnder } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { Skopeo } from "./daemons.ts";
import { Mirror } from "./mirror.ts";
import { Origin, type OriginOptions } from "./origin.ts";
import { needs } from "./programs.ts";
import { byDigest, expectedGets } from "./pulls.ts";

const options = needs(["skopeo", "docker-registry"]);
const login = {
  username: "mirror",
  password: "correct horse",
  line: "mirror:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
};

interface Stage {
  readonly origin: Origin;
  readonly mirror: Mirror;
  readonly skopeo: Skopeo;
}

async function onStage(
  setup: OriginOptions & { readonly upstream?: Readonly<Record<string, unknown>> },
  play: (stage: Stage) => Promise<void>,
): Promise<void> {
  await using dir = await makeTempDir("e2e-skopeo");
  await using undo = new AsyncDisposableStack();
  const origin = await Origin.start(dir.path, setup);
  undo.defer(() => origin.stop());
  const upstreams = { "docker.io": { url: origin.url, ...setup.upstream } };
  const mirror = await Mirror.start({ dir: dir.path, upstreams });
  undo.defer(() => mirror.stop());
  await play({ origin, mirror, skopeo: new Skopeo(dir.path) });
}

/** A directory as skopeo writes it: files named by hex, and one manifest. */
async function readCopy(dir: string): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for (const name of await filesUnder(dir)) files.set(name, await readFile(join(dir, name)));
  return files;
}

function demo(seed = 1): TestIndex {
  const layers = [2_000, 40_000, 3_000_000];
  return makeIndex([
    makeImage({ seed, layers }),
    makeImage({ seed: seed + 1, layers: [70_000], architecture: "arm64" }),
  ]);
}

function blobFiles(image: TestImage | TestIndex): string[] {
  const images = "images" in image ? image.images : [image];
  return images.flatMap((one) => [...one.blobs.keys()].map((digest) => digest.slice("sha256:".length)));
}

test("skopeo: the bytes of an index and of everything below it are the origin's", options, async () => {
  await onStage({}, async ({ origin, mirror, skopeo }) => {
    const index = demo();
    await origin.push("library/demo", index, "1");
    const direct = await readCopy(await skopeo.copy(origin.url, "library/demo:1", "direct", { all: true }));
    await origin.forget();
    const cold = await readCopy(await skopeo.copy(mirror.url, "library/demo:1", "cold", { all: true }));
    assert.deepEqual(cold, direct);
    for (const name of blobFiles(index)) assert.ok(cold.has(name), `${name} was copied`);
    assert.deepEqual(await byDigest(origin, { "1": index.digest }), expectedGets(index, { all: true }));

    await origin.forget();
    // The registry as first component of the path names the same thing.
    const again = await readCopy(await skopeo.copy(mirror.url, "docker.io/library/demo:1", "warm", { all: true }));
    assert.deepEqual(again, direct);
    assert.deepEqual(await byDigest(origin, {}), { manifests: {}, blobs: {} });

    await mirror.restart();
    await origin.stop();
    assert.deepEqual(await readCopy(await skopeo.copy(mirror.url, "library/demo:1", "alone", { all: true })), direct);
  });
});

test("skopeo: confirming a tag costs HEADs and no GET, until the tag moves", options, async () => {
  const upstream = { freshness: { tags: "0s", staleWhileRevalidate: "0s" } };
  await onStage({ upstream }, async ({ origin, mirror, skopeo }) => {
    const [old, moved] = [makeImage({ seed: 1 }), makeImage({ seed: 2 })];
    await origin.push("library/demo", old, "1");
    await skopeo.copy(mirror.url, "library/demo:1", "cold");
    await origin.forget();
    await skopeo.copy(mirror.url, "library/demo:1", "confirmed");
    const requests = await origin.requests();
    assert.ok(requests.length > 0, "the origin was asked whether the tag still holds");
    assert.deepEqual([...new Set(requests.map((request) => request.method))], ["HEAD"]);

    await origin.push("library/demo", moved, "1");
    await origin.forget();
    const copy = await readCopy(await skopeo.copy(mirror.url, "library/demo:1", "moved"));
    assert.deepEqual(copy.get("manifest.json"), moved.manifest);
    assert.deepEqual(await byDigest(origin, { "1": moved.digest }), expectedGets(moved));

    // Older than allowed, but better than nothing.
    await origin.stop();
    assert.deepEqual(await readCopy(await skopeo.copy(mirror.url, "library/demo:1", "stale")), copy);
  });
});

test("skopeo: what is stored survives a kill of the mirror", options, async () => {
  await onStage({}, async ({ origin, mirror, skopeo }) => {
    const image = makeImage({ format: "docker" });
    await origin.push("library/demo", image, "1");
    const before = await readCopy(await skopeo.copy(mirror.url, "library/demo:1", "before"));
    await mirror.crash();
    await origin.forget();
    assert.deepEqual(await readCopy(await skopeo.copy(mirror.url, "library/demo:1", "after")), before);
    assert.deepEqual(await byDigest(origin, {}), { manifests: {}, blobs: {} });
  });
});

test("skopeo: ten clients at once on a cold mirror cost the origin one GET per digest", options, async () => {
  await onStage({}, async ({ origin, mirror, skopeo }) => {
    const index = demo(7);
    await origin.push("library/demo", index, "1");
    await origin.forget();
    const copies = Array.from({ length: 10 }, (_, at) =>
      skopeo.copy(mirror.url, "library/demo:1", `herd-${at}`, { all: true }),
    );
    const [first, ...others] = await Promise.all((await Promise.all(copies)).map(readCopy));
    for (const other of others) assert.deepEqual(other, first);
    const gets = await byDigest(origin, { "1": index.digest });
    assert.deepEqual(gets, expectedGets(index, { all: true }), `the mirror said:\n${mirror.output}`);
  });
});

test("skopeo: an origin that wants credentials gets the mirror's, and clients need none", options, async () => {
  const credentials = [{ username: login.username, password: login.password }];
  await onStage({ login, upstream: { credentials } }, async ({ origin, mirror, skopeo }) => {
    const image = makeImage();
    await origin.push("library/demo", image, "1");
    await origin.forget();
    const copy = await readCopy(await skopeo.copy(mirror.url, "library/demo:1", "copy"));
    for (const name of blobFiles(image)) assert.ok(copy.has(name), `${name} was copied`);
    assert.deepEqual(await byDigest(origin, { "1": image.digest }), expectedGets(image));
    assert.ok(!mirror.output.includes(login.password), "the password is not in the log");
  });
});

test("skopeo: with wrong credentials the pull fails and the client is not asked for any", options, async () => {
  const credentials = [{ username: login.username, password: "wrong" }];
  await onStage({ login, upstream: { credentials } }, async ({ origin, mirror, skopeo }) => {
    await origin.push("library/demo", makeImage(), "1");
    await assert.rejects(skopeo.copy(mirror.url, "library/demo:1", "copy"), (error: Error) => {
      assert.doesNotMatch(error.message, /authentication required|unauthorized: /i);
      return true;
    });
  });
});
