/** What leaves one store arrives in another: all of it, verified, with names and permissions, and once. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { chmod, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { isFailure } from "../../src/base/failure.ts";
import { parseContents } from "../../src/bundle/contents.ts";
import { signContents } from "../../src/bundle/signature.ts";
import { missingIn, readTree } from "../../src/bundle/tree.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { place } from "../meta/rooms.ts";
import { filesOf, pack, plan, tarOf, unpack } from "./luggage.ts";
import { Stage } from "./stage.ts";

const app = place("docker.io", "team/app");
const APP = "docker.io/team/app";
const amd = makeImage({ seed: 1, layers: [1000, 200_000] });
const arm = makeImage({ seed: 2, layers: [300], architecture: "arm64" });
const index = makeIndex([amd, arm]);
const signature = makeImage({ seed: 3, layers: [10], subject: amd.descriptor, artifactType: "application/x.sig" });
const cosigned = makeImage({ seed: 4, layers: [20] });

async function filled(): Promise<Stage> {
  const stage = await Stage.open();
  await stage.put(app, index, "1");
  await stage.put(app, signature);
  await stage.put(app, cosigned, `${index.digest.replace(":", "-")}.sig`);
  return stage;
}

test("an image arrives whole: tags of their time, permissions, what refers to it, and cosign's tags", async () => {
  await using here = await filled();
  await using there = await Stage.open();
  await there.clock.advance(60_000);
  const result = await unpack(there, await pack(here, { references: [`${APP}:1`] }));
  assert.equal(result.signature, "none");
  assert.deepEqual(
    result.references.map(({ name, tag }) => [name, tag]),
    [
      [`${APP}:1`, "named"],
      [`${APP}:${index.digest.replace(":", "-")}.sig`, "named"],
    ],
  );
  const tree = await readTree(there.parts, app, index.digest);
  assert.deepEqual(missingIn(tree), []);
  assert.deepEqual(
    tree.manifests[0]?.referrers.map(({ digest }) => digest),
    [signature.digest],
  );
  assert.equal(there.rooms.tags.find(app, parseTag("1"))?.checkedAt, here.clock.now());
  for (const digest of [index.digest, amd.digest, ...amd.blobs.keys()]) {
    assert.equal(there.rooms.graph.findReachable(app, digest)?.confirmed, true);
    assert.equal(there.rooms.inventory.findUpstream(digest), "docker.io");
    assert.equal(there.rooms.graph.findReachable(place("docker.io", "team/other"), digest), undefined);
  }
  assert.deepEqual(await there.files(), await here.files());
});

test("the same store gives the same bytes, in an order in which contents come first and manifests before blobs", async () => {
  await using here = await filled();
  const one = await pack(here, { references: [`${APP}:1`] });
  assert.deepEqual(one, await pack(here, { references: [`${APP}:1`] }));
  const names = filesOf(one).map(({ name }) => name);
  assert.deepEqual(names.slice(0, 3), ["contents.ndjson", "oci-layout", "index.json"]);
  const manifests = [index, amd, arm, signature, cosigned].map(({ digest }) => `blobs/sha256/${digest.slice(7)}`);
  assert.deepEqual(names.slice(3, 8), manifests.sort());
});

test("a second time nothing is taken, and compressed archives are as good", async () => {
  await using here = await filled();
  await using there = await Stage.open();
  const bundle = await pack(here, { references: [`${APP}:1`] });
  const first = await unpack(there, gzipSync(bundle));
  assert.ok(first.taken.blobs > 5);
  const again = await unpack(there, zstdCompressSync(bundle));
  assert.deepEqual(again.taken, { blobs: 0, bytes: 0 });
  assert.equal(again.knownBlobs, first.taken.blobs);
  assert.equal(there.rooms.inventory.blobs, first.taken.blobs);
});

test("since: only the difference is carried, and it is refused where the rest is not", async () => {
  await using here = await filled();
  const first = await pack(here, { references: [`${APP}:1`] });
  const before = await parseContents(filesOf(first)[0]?.bytes ?? Buffer.alloc(0));
  const layers = [amd.blobs.get(amd.layers[1]?.digest ?? amd.digest) ?? Buffer.alloc(0), 77];
  const next = makeImage({ seed: 9, layers });
  await here.put(app, next, "2");
  const have = before.pieces.map(({ digest }) => digest);
  const wanted = {
    references: [`${APP}:1`, `${APP}:2`],
    have,
    since: digestOf(filesOf(first)[0]?.bytes ?? Buffer.alloc(0)),
  };
  const second = await pack(here, wanted);
  const fresh = [...next.blobs.keys(), next.digest].filter((digest) => !have.includes(digest));
  assert.deepEqual(
    filesOf(second)
      .slice(3)
      .map(({ name }) => name)
      .sort(),
    fresh.map((digest) => `blobs/sha256/${digest.slice(7)}`).sort(),
  );
  assert.ok(second.length < first.length / 5, `${second.length} of ${first.length}`);

  await using alone = await Stage.open();
  await assert.rejects(
    unpack(alone, second),
    (error) => isFailure(error, "unknown") && /made after/.test(error.message),
  );
  assert.equal(alone.rooms.tags.find(app, parseTag("2")), undefined);
  await unpack(alone, first);
  await unpack(alone, second);
  assert.deepEqual(missingIn(await readTree(alone.parts, app, next.digest)), []);
  assert.equal(alone.rooms.tags.find(app, parseTag("2"))?.digest, next.digest);
});

test("platforms: others are left out, told so, and the index is taken as it is", async () => {
  await using here = await Stage.open();
  await here.put(app, index, "1", [arm.digest, ...arm.blobs.keys()]);
  await assert.rejects(plan(here, { references: [`${APP}:1`] }), (error) => {
    assert.ok(isFailure(error, "unknown"));
    assert.match(error.message, /team\/app:1: 1 of its \d+ pieces are not stored here/);
    assert.match(error.message, /wharfinger warm docker\.io\/team\/app:1/);
    return true;
  });
  await using there = await Stage.open();
  await unpack(there, await pack(here, { references: [`${APP}:1`], platforms: "linux/amd64" }));
  const missing = missingIn(await readTree(there.parts, app, index.digest));
  assert.deepEqual(
    missing.map(({ digest }) => digest),
    [arm.digest],
  );
});

test("what is not there at all, and a tag of another repository, is told for all references at once", async () => {
  await using here = await filled();
  await assert.rejects(
    plan(here, { references: [`${APP}:9`, "alpine", `docker.io/team/other@${amd.digest}`] }),
    (error) => {
      assert.ok(isFailure(error, "unknown"));
      assert.match(error.message, /team\/app:9: it is not stored here/);
      assert.match(error.message, /docker\.io\/library\/alpine:latest: it is not stored/);
      assert.match(error.message, /team\/other@sha256:[^:]+: its manifest is not stored here/);
      return true;
    },
  );
});

test("signed: by the right key it is taken, else nothing of it is", async () => {
  await using here = await filled();
  const bundle = filesOf(await pack(here, { references: [`${APP}:1`] }));
  const [contents, ...rest] = bundle;
  assert.ok(contents !== undefined);
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const other = generateKeyPairSync("ed25519");
  const sig = { name: "contents.ndjson.sig", bytes: await signContents(contents.bytes, privateKey) };
  const signed = tarOf([contents, sig, ...rest]);
  for (const [bytes, key, why] of [
    [tarOf(bundle), publicKey, /not signed/],
    [signed, other.publicKey, /not by this key/],
    [
      tarOf([{ ...contents, bytes: Buffer.concat([contents.bytes, Buffer.from("\n")]) }, sig, ...rest]),
      publicKey,
      /not by/,
    ],
    [tarOf([contents, { ...sig, bytes: sig.bytes.subarray(1) }, ...rest]), publicKey, /not by this key/],
  ] as const) {
    await using there = await Stage.open();
    await assert.rejects(
      unpack(there, bytes, { verifyKey: key }),
      (error) => isFailure(error, "denied") && why.test(error.message),
    );
    assert.deepEqual(await there.files(), { blobs: [], partial: [] });
  }
  await using there = await Stage.open();
  assert.equal((await unpack(there, signed, { verifyKey: publicKey })).signature, "verified");
  assert.equal((await unpack(there, signed)).signature, "not checked");
});

test("an old bundle does not take back what the upstream said later", async () => {
  await using here = await filled();
  const bundle = await pack(here, { references: [`${APP}:1`] });
  await using there = await Stage.open();
  await there.clock.advance(10_000);
  await there.put(app, makeImage({ seed: 50 }), "1");
  const [first] = (await unpack(there, bundle)).references;
  assert.equal(first?.tag, "newer here");
  assert.notEqual(there.rooms.tags.find(app, parseTag("1"))?.digest, index.digest);
});

test("bit rot ends an export before its last byte", async () => {
  await using here = await filled();
  const [, layer] = amd.layers;
  assert.ok(layer !== undefined);
  const path = here.store.pathOf(layer.digest);
  await chmod(path, 0o600);
  const bytes = Buffer.from(amd.blobs.get(layer.digest) ?? Buffer.alloc(0));
  bytes.writeUInt8(bytes.readUInt8(5) ^ 1, 5);
  await writeFile(path, bytes);
  await assert.rejects(pack(here, { references: [`${APP}:1`] }), (error) => {
    return isFailure(error, "corrupt") && error.message.includes(layer.digest);
  });
});
