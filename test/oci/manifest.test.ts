/** Manifests: what each kind names, and that none is taken for something else than it is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../src/base/failure.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  DOCKER_SCHEMA1,
  DOCKER_SCHEMA1_SIGNED,
  OCI_INDEX,
  OCI_MANIFEST,
} from "../../src/oci/mediatypes.ts";

const ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json";
const digest = (text: string) => digestOf(Buffer.from(text));
const descriptor = (text: string, mediaType = "application/octet-stream") => ({
  mediaType,
  digest: digest(text),
  size: text.length,
});
const read = (document: unknown, servedAs?: string) =>
  parseManifest(Buffer.from(typeof document === "string" ? document : JSON.stringify(document)), servedAs);
const namesOf = (list: readonly { digest: string }[]) => list.map((entry) => entry.digest);
const refused = (work: () => unknown, text: RegExp = /./) =>
  assert.throws(
    work,
    (error) => isFailure(error, "corrupt") && error.code === "MANIFEST_INVALID" && text.test(error.message),
  );

const image = { schemaVersion: 2, config: descriptor("config"), layers: [descriptor("one"), descriptor("two")] };
const index = { schemaVersion: 2, manifests: [descriptor("amd64", OCI_MANIFEST), descriptor("arm64", OCI_MANIFEST)] };
const schema1 = {
  schemaVersion: 1,
  name: "library/old",
  fsLayers: [{ blobSum: digest("one") }, { blobSum: digest("two") }],
};

test("an image names its configuration and layers, and no manifests", () => {
  for (const type of [OCI_MANIFEST, DOCKER_MANIFEST]) {
    for (const content of [
      read({ ...image, mediaType: type }),
      read(image, type),
      read({ ...image, mediaType: type }, type),
    ]) {
      assert.equal(content.mediaType, type);
      assert.deepEqual(namesOf(content.blobs), [digest("config"), digest("one"), digest("two")]);
      assert.deepEqual(content.manifests, []);
    }
  }
});

test("an index names its manifests, with size and type, and no blobs", () => {
  for (const type of [OCI_INDEX, DOCKER_LIST]) {
    const content = read({ ...index, mediaType: type }, type);
    assert.equal(content.mediaType, type);
    assert.deepEqual(content.manifests, [
      { digest: digest("amd64"), sizeBytes: 5, mediaType: OCI_MANIFEST },
      { digest: digest("arm64"), sizeBytes: 5, mediaType: OCI_MANIFEST },
    ]);
    assert.deepEqual(content.blobs, []);
  }
});

test("a schema 1 manifest names its layers, whose sizes nobody knows", () => {
  for (const [document, type] of [
    [schema1, DOCKER_SCHEMA1],
    [{ ...schema1, signatures: [{}] }, DOCKER_SCHEMA1_SIGNED],
  ] as const) {
    for (const content of [read(document), read(document, type)]) {
      assert.equal(content.mediaType, type);
      assert.deepEqual(namesOf(content.blobs), [digest("one"), digest("two")]);
      assert.ok(content.blobs.every((blob) => blob.sizeBytes === -1));
    }
  }
});

test("an artifact manifest names its blobs", () => {
  for (const content of [
    read({ mediaType: ARTIFACT, artifactType: "a/b", blobs: [descriptor("sig")] }),
    read({ artifactType: "a/b", blobs: [descriptor("sig")] }, ARTIFACT),
  ]) {
    assert.equal(content.mediaType, ARTIFACT);
    assert.deepEqual(namesOf(content.blobs), [digest("sig")]);
  }
});

test("a type that nobody here knows is kept as it is", () => {
  const type = "application/vnd.example.future.v9+json";
  assert.equal(read({ mediaType: type, anything: [] }).mediaType, type);
  assert.equal(read({ anything: [] }, type).mediaType, type);
});

test("where nothing claims a type, the members tell", () => {
  assert.equal(read(image).mediaType, OCI_MANIFEST);
  assert.equal(read(index).mediaType, OCI_INDEX);
  refused(() => read({ schemaVersion: 2 }), /neither/);
  refused(() => read({}), /neither/);
});

test("a generic Content-Type claims nothing", () => {
  for (const generic of ["application/json", "application/octet-stream", "text/plain"]) {
    assert.equal(read(image, generic).mediaType, OCI_MANIFEST);
    assert.equal(read({ ...index, mediaType: DOCKER_LIST }, generic).mediaType, DOCKER_LIST);
    refused(() => read({}, generic), /neither/);
  }
});

test("a document that is served as something else than it says is refused", () => {
  refused(() => read({ ...image, mediaType: OCI_MANIFEST }, DOCKER_MANIFEST), /served as/);
  refused(() => read({ ...image, mediaType: OCI_MANIFEST }, OCI_INDEX), /served as/);
  refused(() => read({ ...index, mediaType: OCI_INDEX }, DOCKER_LIST), /served as/);
  refused(() => read({ ...image, mediaType: OCI_MANIFEST }, "text/html"), /served as/);
});

test("a document whose members are not those of its type is refused", () => {
  for (const type of [OCI_INDEX, DOCKER_LIST, DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED]) {
    refused(() => read(image, type));
    refused(() => read({ ...image, mediaType: type }));
  }
  for (const type of [OCI_MANIFEST, DOCKER_MANIFEST, DOCKER_SCHEMA1]) {
    refused(() => read(index, type));
    refused(() => read({ ...index, mediaType: type }));
  }
  for (const type of [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST]) {
    refused(() => read(schema1, type));
    refused(() => read({ schemaVersion: 2 }, type));
  }
});

test("a document that is a manifest and an index at once is refused, whatever it says it is", () => {
  for (const claim of [undefined, OCI_INDEX, OCI_MANIFEST, ARTIFACT]) {
    refused(() => read({ ...image, ...index }, claim), /at once/);
    refused(() => read({ ...index, config: image.config }, claim), /at once/);
    refused(() => read({ ...index, layers: [] }, claim), /at once/);
    refused(() => read({ ...index, ...schema1 }, claim), /at once/);
    refused(() => read({ ...image, ...schema1 }, claim), /at once/);
    refused(() => read({ ...image, ...index, mediaType: OCI_INDEX }, claim));
  }
});

test("the subject of a manifest is no child of it, nor are the addresses of foreign layers", () => {
  const subject = descriptor("subject", OCI_MANIFEST);
  for (const document of [
    { ...image, subject },
    { ...index, subject },
    { mediaType: ARTIFACT, subject, blobs: [] },
    { ...image, layers: [{ ...descriptor("one"), urls: ["https://elsewhere.example/"], subject }] },
  ]) {
    const content = read(document);
    assert.ok(![...content.manifests, ...content.blobs].some((child) => child.digest === subject.digest));
    assert.ok(!JSON.stringify(content).includes("elsewhere"));
  }
});

test("entries that are no descriptors name nothing", () => {
  const entries = [
    null,
    7,
    "text",
    [],
    {},
    { digest: 7, size: 1 },
    { digest: "sha256:abc", size: 1 },
    { digest: `md5:${"a".repeat(32)}`, size: 1 },
    { digest: `sha256:${"A".repeat(64)}`, size: 1 },
    { digest: "../../etc/passwd", size: 1 },
    descriptor("good"),
  ];
  assert.deepEqual(namesOf(read({ layers: entries }).blobs), [digest("good")]);
  assert.deepEqual(namesOf(read({ manifests: entries }).manifests), [digest("good")]);
  assert.deepEqual(namesOf(read({ fsLayers: [...entries, { blobSum: digest("good") }, { blobSum: 5 }] }).blobs), [
    digest("good"),
  ]);
  assert.deepEqual(read({ layers: "none", config: 7 }).blobs, []);
});

test("a size that is none is unknown, not taken over", () => {
  for (const size of [-1, 1.5, 1e300, "5", null, undefined, {}]) {
    const [only] = read({ layers: [{ digest: digest("x"), size }] }).blobs;
    assert.deepEqual(only, { digest: digest("x"), sizeBytes: -1, mediaType: "" });
  }
});

test("what is not a JSON object is no manifest", () => {
  for (const text of ["", " ", "null", "true", "7", '"text"', "[]", "[{}]", "{", "{} {}", "<html></html>", "{'a':1}"]) {
    refused(() => read(text, OCI_MANIFEST));
  }
});

test("a byte order mark or invalid UTF-8 is no JSON", () => {
  const json = Buffer.from(JSON.stringify(image));
  refused(() => parseManifest(Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), json]), undefined), /not JSON/);
  refused(() => parseManifest(Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]), undefined), /not JSON/);
  refused(() => parseManifest(Buffer.from(JSON.stringify(image), "utf16le"), undefined), /not JSON/);
});

test("nesting without end neither hangs nor overflows", () => {
  const depth = 1_000_000;
  refused(() => read("[".repeat(depth)));
  refused(() => read(`{"layers":${"[".repeat(depth)}${"]".repeat(depth)},"manifests":[]}`));
  assert.deepEqual(read(`{"layers":${"[".repeat(depth)}${"]".repeat(depth)}}`).blobs, []);
  refused(() => read('{"a":'.repeat(depth)));
});

test("members inherited from nowhere are no claim", () => {
  assert.deepEqual(read('{"layers":[],"__proto__":{"manifests":[]},"constructor":1}').mediaType, OCI_MANIFEST);
});

test("no bytes make the reader throw anything but a failure", () => {
  const value = fc.oneof(
    fc.jsonValue(),
    fc.record({ digest: fc.constantFrom(digest("a"), "x"), size: fc.integer() }),
    fc.array(fc.record({ digest: fc.constantFrom(digest("a"), "x"), mediaType: fc.anything() }), { maxLength: 3 }),
  );
  const document = fc.dictionary(
    fc.constantFrom("manifests", "layers", "config", "blobs", "fsLayers", "mediaType", "subject", "signatures", "x"),
    value,
  );
  const bytes = fc.oneof(
    document.map((object) => Buffer.from(JSON.stringify(object) ?? "")),
    fc.uint8Array().map((array) => Buffer.from(array)),
    fc.json().map((text) => Buffer.from(text)),
  );
  const served = fc.constantFrom(undefined, OCI_INDEX, OCI_MANIFEST, DOCKER_SCHEMA1, ARTIFACT, "application/json");
  fc.assert(
    fc.property(bytes, served, (input, servedAs) => {
      try {
        const content = parseManifest(input, servedAs);
        for (const child of [...content.manifests, ...content.blobs]) assert.equal(child.digest, digest("a"));
        assert.ok(content.manifests.length === 0 || content.mediaType !== OCI_MANIFEST);
      } catch (error) {
        assert.ok(isFailure(error, "corrupt"), String(error));
      }
    }),
    { numRuns: 500 },
  );
});
