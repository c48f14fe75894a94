/** What is stored of an image, as one repository may see it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { companionTags, manifestsIn, missingIn, readTree } from "../../src/bundle/tree.ts";
import { parsePlatforms } from "../../src/oci/platform.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { place } from "../meta/rooms.ts";
import { Stage } from "./stage.ts";

const app = place("docker.io", "team/app");
const amd = makeImage({ seed: 1, layers: [100, 200] });
const arm = makeImage({ seed: 2, layers: [300], architecture: "arm64" });
const index = makeIndex([amd, arm]);
const signature = makeImage({ seed: 3, layers: [10], subject: amd.descriptor, artifactType: "application/x.sig" });

test("a whole image has nothing missing, and what refers to a platform's manifest is below that", async () => {
  await using stage = await Stage.open();
  await stage.put(app, index);
  await stage.put(app, signature);
  const tree = await readTree(stage.parts, app, index.digest);
  assert.deepEqual(missingIn(tree), []);
  assert.deepEqual(
    manifestsIn(tree).map(({ digest, platform }) => [digest, platform]),
    [
      [index.digest, undefined],
      [amd.digest, "linux/amd64"],
      [signature.digest, undefined],
      [arm.digest, "linux/arm64"],
    ],
  );
  assert.deepEqual(
    tree.manifests[0]?.blobs.map(({ digest, sizeBytes, stored }) => ({ digest, sizeBytes, stored })),
    [amd.config, ...amd.layers].map(({ digest, sizeBytes }) => ({ digest, sizeBytes, stored: true })),
  );
  const bare = await readTree(stage.parts, app, index.digest, { referrers: false });
  assert.equal(manifestsIn(bare).length, 3);
});

test("what is not stored is named with the size that its manifest says", async () => {
  await using stage = await Stage.open();
  const [gone] = amd.layers;
  assert.ok(gone !== undefined);
  await stage.put(app, index, undefined, [gone.digest, arm.digest]);
  const missing = missingIn(await readTree(stage.parts, app, index.digest));
  assert.deepEqual(
    missing.map(({ digest, sizeBytes }) => [digest, sizeBytes]),
    [
      [gone.digest, gone.sizeBytes],
      [arm.digest, arm.descriptor.sizeBytes],
    ],
  );
});

test("only wanted platforms are gone into; the others are told apart", async () => {
  await using stage = await Stage.open();
  await stage.put(app, index, undefined, [arm.digest]);
  const tree = await readTree(stage.parts, app, index.digest, { platforms: parsePlatforms("linux/amd64") });
  assert.deepEqual(missingIn(tree), []);
  assert.deepEqual(
    tree.unwanted.map(({ digest }) => digest),
    [arm.digest],
  );
});

test("bytes of another upstream that a manifest only names are none of this repository's", async () => {
  await using stage = await Stage.open();
  const [layer] = amd.layers;
  assert.ok(layer !== undefined);
  await stage.putBlob(place("private.example", "secret"), layer.digest, amd.blobs.get(layer.digest) ?? Buffer.alloc(0));
  await stage.put(app, amd);
  assert.deepEqual(
    missingIn(await readTree(stage.parts, app, amd.digest)).map(({ digest }) => digest),
    [layer.digest],
  );
  const elsewhere = await readTree(stage.parts, place("docker.io", "team/other"), amd.digest);
  assert.equal(elsewhere.stored, false);
});

test("cosign's tags and the fallback of the specification", () => {
  assert.deepEqual(
    companionTags(amd.digest).map((tag) => tag.replace(amd.digest.slice(7), "HEX")),
    ["sha256-HEX", "sha256-HEX.sig", "sha256-HEX.att", "sha256-HEX.sbom"],
  );
});
