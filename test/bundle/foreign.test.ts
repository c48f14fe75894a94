/** Archives of others: any OCI layout, and what docker save wrote, before and since it has a layout in it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { isFailure } from "../../src/base/failure.ts";
import { blobPath } from "../../src/bundle/layout.ts";
import { missingIn, readTree } from "../../src/bundle/tree.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { OCI_INDEX } from "../../src/oci/mediatypes.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { seededBytes } from "../kit/content.ts";
import { makeImage, makeIndex, type TestImage, type TestIndex } from "../kit/image.ts";
import { makeTar } from "../kit/tar.ts";
import { place } from "../meta/rooms.ts";
import { assertHarmless, tarOf, unpack } from "./luggage.ts";
import { Stage } from "./stage.ts";

interface File {
  readonly name: string;
  readonly bytes: Buffer;
}
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const app = place("docker.io", "team/app");
const amd = makeImage({ seed: 1, layers: [1000, 70_000] });
const arm = makeImage({ seed: 2, layers: [300], architecture: "arm64" });
const index = makeIndex([amd, arm]);

/** As skopeo and others lay it out; blobs come before what names them, as in an archive sorted by name. */
function layout(
  entries: readonly { image: TestImage | TestIndex; names?: Record<string, string> }[],
  without: readonly Digest[] = [],
): File[] {
  const blobs = new Map<Digest, Buffer>();
  const add = (image: TestImage | TestIndex): void => {
    if ("images" in image) for (const one of image.images) add(one);
    else for (const [digest, bytes] of image.blobs) blobs.set(digest, bytes);
    blobs.set(image.digest, image.manifest);
  };
  for (const { image } of entries) add(image);
  for (const digest of without) blobs.delete(digest);
  const manifests = entries.map(({ image, names }) => ({
    mediaType: image.mediaType,
    digest: image.digest,
    size: image.manifest.length,
    ...(names === undefined ? {} : { annotations: names }),
  }));
  return [
    ...[...blobs]
      .map(([digest, bytes]) => ({ name: blobPath(digest), bytes }))
      .sort((a, b) => (a.name < b.name ? -1 : 1)),
    { name: "index.json", bytes: json({ schemaVersion: 2, mediaType: OCI_INDEX, manifests }) },
    { name: "oci-layout", bytes: json({ imageLayoutVersion: "1.0.0" }) },
  ];
}

const REF = "org.opencontainers.image.ref.name";
const CONTAINERD = "io.containerd.image.name";

test("a layout with names in full form, by either annotation, and what refers to its image without one", async () => {
  await using there = await Stage.open();
  const signature = makeImage({ seed: 3, layers: [10], subject: amd.descriptor, artifactType: "application/x.sig" });
  const other = makeImage({ seed: 4 });
  const files = layout([
    { image: index, names: { [REF]: "docker.io/team/app:1" } },
    { image: other, names: { [REF]: "v2", [CONTAINERD]: "ghcr.io/org/tool:v2" } },
    { image: signature },
  ]);
  const { references, signature: signed } = await unpack(there, tarOf(files));
  assert.equal(signed, "none");
  assert.deepEqual(
    references.map(({ name, digest }) => [name, digest]),
    [
      ["docker.io/team/app:1", index.digest],
      ["ghcr.io/org/tool:v2", other.digest],
    ],
  );
  const tree = await readTree(there.parts, app, index.digest);
  assert.deepEqual(missingIn(tree), []);
  assert.deepEqual(
    tree.manifests[0]?.referrers.map(({ digest }) => digest),
    [signature.digest],
  );
  assert.equal(there.rooms.tags.find(app, parseTag("1"))?.checkedAt, there.clock.now());
  assert.equal(there.rooms.graph.findReachable(app, other.digest), undefined);
  assert.equal(there.rooms.inventory.findUpstream(other.digest), "ghcr.io");
});

test("a tag alone, or no name, needs to be told of which repository it is", async () => {
  for (const names of [{ [REF]: "v2" }, undefined]) {
    const files = layout([{ image: amd, ...(names === undefined ? {} : { names }) }]);
    await using without = await Stage.open();
    await assert.rejects(
      unpack(without, tarOf(files)),
      (error) => isFailure(error, "invalid") && /--as REPOSITORY/.test(error.message),
    );
    await assertHarmless(without);
    await using there = await Stage.open();
    await unpack(there, tarOf(files), { as: "registry.example.com:5000/team/app" });
    const own = place("registry.example.com:5000", "team/app");
    assert.deepEqual(missingIn(await readTree(there.parts, own, amd.digest)), []);
    assert.deepEqual(there.rooms.tags.namesOf(own), names === undefined ? [] : ["v2"]);
  }
});

test("an index whose other platforms were never pulled is taken, and said so; an image with a layer missing is not", async () => {
  await using there = await Stage.open();
  const names = { [REF]: "docker.io/team/app:1" };
  const { notes } = await unpack(there, tarOf(layout([{ image: index, names }], [arm.digest, ...arm.blobs.keys()])));
  assert.match(notes.join(), /1 of its 2 manifests are not in the archive/);
  assert.equal(there.rooms.tags.find(app, parseTag("1"))?.digest, index.digest);
  const [layer] = arm.layers;
  assert.ok(layer !== undefined);
  for (const gone of [[layer.digest], [amd.digest, arm.digest]]) {
    await using other = await Stage.open();
    await assert.rejects(unpack(other, tarOf(layout([{ image: index, names }], gone))), (error) =>
      isFailure(error, "corrupt"),
    );
    await assertHarmless(other);
  }
});

const tarLayer = (seed: number) => makeTar([{ name: `file-${seed}`, bytes: seededBytes(100_000, seed) }]);

/** As docker save wrote it before there was a layout in it. */
function saved(links = false): { files: File[]; config: Buffer; layers: Buffer[] } {
  const layers = [tarLayer(1), tarLayer(2)];
  const config = json({
    architecture: "amd64",
    os: "linux",
    rootfs: { type: "layers", diff_ids: layers.map((layer) => digestOf(layer)) },
  });
  const hex = digestOf(config).slice(7);
  const ids = ["a".repeat(64), "b".repeat(64)];
  const files = [
    ...layers.flatMap((bytes, at) => [
      { name: `${ids[at]}/VERSION`, bytes: Buffer.from("1.0") },
      { name: `${ids[at]}/json`, bytes: json({ id: ids[at] }) },
      { name: `${ids[at]}/layer.tar`, bytes },
    ]),
    { name: `${hex}.json`, bytes: config },
    {
      name: "manifest.json",
      bytes: json([
        {
          Config: `${hex}.json`,
          RepoTags: ["alpine:3.20", "registry.example.com/team/app:1"],
          Layers: [...ids.map((id) => `${id}/layer.tar`), ...(links ? ["linked/layer.tar"] : [])],
        },
      ]),
    },
    { name: "repositories", bytes: json({ alpine: { "3.20": ids[1] } }) },
  ];
  return { files, config, layers };
}

test("docker save of old: a manifest is made of it, always the same, under all its names", async () => {
  await using there = await Stage.open();
  const { files, config, layers } = saved();
  const { references } = await unpack(there, gzipSync(tarOf(files)));
  assert.deepEqual(
    references.map(({ name }) => name),
    ["docker.io/library/alpine:3.20", "registry.example.com/team/app:1"],
  );
  const alpine = place("docker.io", "library/alpine");
  const digest = there.rooms.tags.find(alpine, parseTag("3.20"))?.digest;
  assert.ok(digest !== undefined);
  const tree = await readTree(there.parts, alpine, digest);
  assert.deepEqual(missingIn(tree), []);
  assert.deepEqual(
    tree.blobs.map((blob) => blob.digest),
    [digestOf(config), ...layers.map((layer) => digestOf(layer))],
  );
  assert.equal(tree.blobs[1]?.mediaType, "application/vnd.docker.image.rootfs.diff.tar");
  const { taken } = await unpack(there, tarOf(files));
  assert.equal(taken.blobs, 0);
  assert.equal((await there.files()).blobs.length, 4);
});

test("docker save of old: layers that are links to others, as it wrote them where images share some", async () => {
  await using there = await Stage.open();
  const { files } = saved(true);
  const link = (target: string) => {
    const tar = makeTar([{ name: "linked/layer.tar", linkTo: target }]);
    return Buffer.concat([tar.subarray(0, 512), tarOf(files)]);
  };
  const { references } = await unpack(there, link(`../${"a".repeat(64)}/layer.tar`));
  const alpine = place("docker.io", "library/alpine");
  const tree = await readTree(there.parts, alpine, references[0]?.digest ?? amd.digest);
  assert.equal(tree.blobs.length, 4);
  assert.equal(tree.blobs[1]?.digest, tree.blobs[3]?.digest);
  await using other = await Stage.open();
  await assert.rejects(unpack(other, link("../../../etc/passwd")), (error) => isFailure(error, "invalid"));
  await assert.rejects(unpack(other, link("../nowhere/layer.tar")), (error) => isFailure(error, "corrupt"));
  await assertHarmless(other);
});

test("docker save since 25: the layout in it counts", async () => {
  await using there = await Stage.open();
  const image = makeImage({ seed: 5, layers: [1000] });
  const names = { [CONTAINERD]: "docker.io/library/alpine:3.20", [REF]: "3.20" };
  const [layer] = image.layers;
  const files = [
    ...layout([{ image, names }]),
    {
      name: "manifest.json",
      bytes: json([
        {
          Config: blobPath(image.config.digest),
          RepoTags: ["alpine:3.20"],
          Layers: [blobPath(layer?.digest ?? image.digest)],
        },
      ]),
    },
    { name: "repositories", bytes: json({}) },
  ];
  await unpack(there, tarOf(files));
  const alpine = place("docker.io", "library/alpine");
  assert.equal(there.rooms.tags.find(alpine, parseTag("3.20"))?.digest, image.digest);
});

test("what is stored for another repository is none of an archive that only names it, of the same registry too", async () => {
  const names = { [REF]: "docker.io/team/thief:1" };
  const secret = place("docker.io", "team/secret");
  const thief = place("docker.io", "team/thief");
  const [layer] = amd.layers;
  assert.ok(layer !== undefined);
  await using there = await Stage.open();
  await there.put(secret, index, "1");
  for (const [image, gone] of [
    [amd, [layer.digest]],
    [index, [arm.digest, amd.digest]],
  ] as const) {
    await assert.rejects(
      unpack(there, tarOf(layout([{ image, names }], gone))),
      (error) =>
        isFailure(error, "corrupt") &&
        /names sha256:[0-9a-f]+ that the archive does not have|none of them/.test(error.message),
    );
    assert.deepEqual(there.rooms.repositories.list(), [secret]);
  }
  // Of an index it has what it carries, and not what happens to be stored here.
  const { notes } = await unpack(there, tarOf(layout([{ image: index, names }], [arm.digest])));
  assert.match(notes.join(), /1 of its 2 manifests are not in the archive/);
  assert.equal(there.rooms.graph.findReachable(thief, arm.digest), undefined);
  // Where it may be read already, it need not be carried again.
  await there.put(thief, amd, "2");
  await unpack(there, tarOf(layout([{ image: amd, names }], [layer.digest])));
  assert.equal(there.rooms.tags.find(thief, parseTag("1"))?.digest, amd.digest);
});
