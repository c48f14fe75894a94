/**
 * `offline: true`: everything that is stored is served, however old, nothing else is there, and no socket is opened.
 */
import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "node:test";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";

const amd = makeImage({ seed: 1, layers: [1000, 70_000] });
const arm = makeImage({ seed: 2, layers: [2000], architecture: "arm64" });
const index = makeIndex([amd, arm]);
const signature = makeImage({ seed: 3, layers: [10], subject: index.descriptor, artifactType: "application/x.sig" });
const sbom = makeImage({ seed: 4, layers: [20], subject: index.descriptor, artifactType: "application/x.sbom" });
const NAME = "library/demo";
const head = (url: string) => get(url, { method: "HEAD" });
/** Whatever is stored is older than this at once. */
const upstream = { freshness: { tags: "0s", staleWhileRevalidate: "0s", staleIfError: "0s", notFound: "0s" } };

/** Something that listens where the upstream was, and counts who comes. */
async function listening() {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return {
    url: `http://127.0.0.1:${address.port}`,
    connections: () => count,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

async function fill(dir: string, pull: readonly string[]): Promise<void> {
  await using origin = await TestUpstream.start();
  for (const tag of ["1", "2", "3"]) origin.shelves.add(NAME, index, tag);
  origin.shelves.add(NAME, signature);
  origin.shelves.add(NAME, sbom);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": origin }, upstream, dir });
  for (const path of pull) assert.equal((await get(`${mirror.url}/v2/${NAME}/${path}`)).status, 200, path);
  await mirror.settled();
}

const PULLS = [
  ...["1", "2", index.digest, amd.digest, signature.digest].map((reference) => `manifests/${reference}`),
  ...[...amd.blobs.keys(), ...signature.blobs.keys()].map((digest) => `blobs/${digest}`),
];

test("offline: all that is stored is served, by GET and HEAD, however old it is, and no socket is opened", async () => {
  await using dir = await makeTempDir("offline");
  await fill(dir.path, PULLS);
  await using gone = await listening();
  const config = { offline: true };
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": gone.url },
    upstream,
    config,
    dir: dir.path,
  });
  const ask = (path: string) => get(`${mirror.url}/v2/${NAME}/${path}`);

  for (const path of PULLS) {
    const answer = await ask(path);
    assert.equal(answer.status, 200, path);
    const seen = await head(`${mirror.url}/v2/${NAME}/${path}`);
    assert.equal(seen.status, 200, path);
    assert.equal(Number(seen.headers["content-length"]), answer.body.length);
  }
  const tagged = await ask("manifests/1");
  assert.deepEqual(tagged.body, index.manifest);
  assert.match(String(tagged.headers["cache-status"]), /hit; ttl=-?\d+; detail=stale/);
  assert.match(String(tagged.headers.warning), /offline/);

  const tags = await ask("tags/list");
  assert.deepEqual(JSON.parse(tags.body.toString()), { name: NAME, tags: ["1", "2"] });
  assert.match(String(tags.headers.warning), /offline/);
  const page = await ask("tags/list?n=1");
  assert.deepEqual(JSON.parse(page.body.toString()).tags, ["1"]);
  assert.match(String(page.headers.link), /last=1/);
  const catalog = await get(`${mirror.url}/v2/_catalog`);
  assert.deepEqual(JSON.parse(catalog.body.toString()), { repositories: [`docker.io/${NAME}`] });

  assert.equal(gone.connections(), 0);
});

test("offline: referrers are those that are stored, as the specification describes them", async () => {
  await using dir = await makeTempDir("offline");
  await fill(dir.path, [...PULLS, `manifests/${sbom.digest}`]);
  await using gone = await listening();
  const config = { offline: true };
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": gone.url },
    upstream,
    config,
    dir: dir.path,
  });
  const ask = async (what: string) => {
    const answer = await get(`${mirror.url}/v2/${NAME}/referrers/${what}`);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["content-type"], "application/vnd.oci.image.index.v1+json");
    return { list: JSON.parse(answer.body.toString()), headers: answer.headers };
  };
  const all = await ask(index.digest);
  const entry = (image: typeof sbom, artifactType: string) => ({
    mediaType: image.mediaType,
    digest: image.digest,
    size: image.manifest.length,
    artifactType,
  });
  const expected = [entry(signature, "application/x.sig"), entry(sbom, "application/x.sbom")];
  expected.sort((one, other) => (one.digest < other.digest ? -1 : 1));
  assert.deepEqual(all.list, {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: expected,
  });
  assert.match(String(all.headers.warning), /offline/);
  const some = await ask(`${index.digest}?artifactType=application/x.sbom`);
  assert.deepEqual(some.list.manifests, [entry(sbom, "application/x.sbom")]);
  assert.equal(some.headers["oci-filters-applied"], "artifactType");
  // Stored, and nothing refers to it.
  assert.deepEqual((await ask(amd.digest)).list.manifests, []);
  assert.equal(gone.connections(), 0);
});

test("offline: what is not stored is 404 and says so; being named is no permission for another repository", async () => {
  await using dir = await makeTempDir("offline");
  await fill(dir.path, PULLS);
  await using gone = await listening();
  const config = { offline: true };
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": gone.url },
    upstream,
    config,
    dir: dir.path,
  });
  const [layer] = amd.layers;
  const missing: readonly (readonly [string, string])[] = [
    [`${NAME}/manifests/3`, "MANIFEST_UNKNOWN"],
    [`${NAME}/manifests/${arm.digest}`, "MANIFEST_UNKNOWN"],
    [`${NAME}/blobs/${arm.config.digest}`, "BLOB_UNKNOWN"],
    [`${NAME}/referrers/${"sha256:".padEnd(71, "0")}`, "MANIFEST_UNKNOWN"],
    ["library/other/manifests/1", "MANIFEST_UNKNOWN"],
    ["library/other/tags/list", "NAME_UNKNOWN"],
    [`library/other/manifests/${amd.digest}`, "MANIFEST_UNKNOWN"],
    [`library/other/blobs/${layer?.digest}`, "BLOB_UNKNOWN"],
  ];
  for (const [path, code] of missing) {
    for (const asked of [get, head]) {
      const answer = await asked(`${mirror.url}/v2/${path}`);
      assert.equal(answer.status, 404, path);
      if (asked === head) continue;
      const [error] = JSON.parse(answer.body.toString()).errors;
      assert.equal(error.code, code, path);
      assert.match(error.message, /offline/, path);
    }
  }
  assert.equal(gone.connections(), 0);
});

test("an upstream in trouble: stored referrers are listed and marked, and none is never an empty list", async () => {
  await using dir = await makeTempDir("offline");
  await fill(dir.path, PULLS);
  await using gone = await listening();
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": gone.url }, upstream, dir: dir.path });
  const listed = await get(`${mirror.url}/v2/${NAME}/referrers/${index.digest}`);
  assert.equal(listed.status, 200);
  assert.deepEqual(
    JSON.parse(listed.body.toString()).manifests.map((one: { digest: string }) => one.digest),
    [signature.digest],
  );
  assert.match(String(listed.headers["cache-status"]), /detail=stale/);
  assert.match(String(listed.headers.warning), /only the referrers stored here/);
  const none = await get(`${mirror.url}/v2/${NAME}/referrers/${amd.digest}`);
  assert.equal(none.status, 502);
  assert.ok(gone.connections() > 0);
});
