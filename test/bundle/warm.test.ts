/** Images are fetched whole and once, by the same fills as clients', and what is stored costs nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { hexOf } from "../../src/oci/digest.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { sharedIndex, warm, warmEvents, withAttestation } from "./warming.ts";

const REPOSITORY = "library/demo";

/** Everything that a client asks for, from the mirror, with the upstream gone. */
async function pullsWithout(mirror: TestMirror, repository: string, reference: string): Promise<number> {
  const answer = await get(`${mirror.url}/v2/${repository}/manifests/${reference}`);
  assert.equal(answer.status, 200, reference);
  const document = JSON.parse(answer.body.toString());
  let count = 1;
  for (const { digest } of document.manifests ?? []) count += await pullsWithout(mirror, repository, digest);
  for (const { digest, size } of [document.config, ...(document.layers ?? [])].filter(Boolean)) {
    const blob = await get(`${mirror.url}/v2/${repository}/blobs/${digest}`);
    assert.deepEqual([blob.status, blob.body.length], [200, size]);
    count += 1;
  }
  return count;
}

test("a multi-arch image is fetched whole, each content once, and is served without the upstream", async () => {
  await using upstream = await TestUpstream.start();
  const index = sharedIndex();
  upstream.shelves.add(REPOSITORY, index, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const { summary, events } = await warm(mirror, { references: ["demo:1"] });
  assert.deepEqual(summary.failed, []);
  assert.equal(summary.images, 1);
  assert.equal(summary.storedBytes, 0);
  const blobs = index.images.flatMap(({ config, layers }) => [config, ...layers]);
  const unique = new Map(blobs.map(({ digest, sizeBytes }) => [digest, sizeBytes]));
  const bytes = [...unique.values()].reduce((sum, size) => sum + size, 0);
  const manifests = [index, ...index.images].reduce((sum, { manifest }) => sum + manifest.length, 0);
  assert.equal(summary.fetchedBytes, bytes + manifests);
  const image = events.find(({ event }) => event === "image");
  assert.deepEqual(image, { ...image, reference: "demo:1", digest: index.digest, manifests: 3, blobs: unique.size });
  for (const [reference, count] of upstream.countsByReference({ method: "GET", kind: "blob" })) {
    assert.equal(count, 1, reference);
  }
  for (const [reference, count] of upstream.countsByReference({ method: "GET", kind: "manifest" })) {
    assert.equal(count, 1, reference);
  }
  await upstream.close();
  assert.equal(await pullsWithout(mirror, REPOSITORY, "1"), 3 + blobs.length);
});

test("what is stored costs one HEAD for the tag, and nothing for a digest", async () => {
  await using upstream = await TestUpstream.start();
  const index = sharedIndex(2);
  upstream.shelves.add(REPOSITORY, index, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const first = await warm(mirror, { references: ["demo:1"] });
  upstream.forgetRequests();
  const { summary } = await warm(mirror, { references: ["demo:1", `demo@${index.digest}`] });
  assert.deepEqual([summary.failed, summary.fetchedBytes], [[], 0]);
  assert.ok(summary.storedBytes >= first.summary.fetchedBytes);
  assert.deepEqual(
    upstream.requests.map(({ method, reference }) => [method, reference]),
    [["HEAD", "1"]],
  );
});

test("of an index the wanted platforms are fetched, with their attestations", async () => {
  await using upstream = await TestUpstream.start();
  const [amd, arm] = [makeImage({ seed: 5 }), makeImage({ seed: 6, architecture: "arm64" })];
  upstream.shelves.add(REPOSITORY, makeIndex([amd, arm]), "both");
  const attested = withAttestation(amd);
  upstream.shelves.add(REPOSITORY, attested.attestation);
  upstream.shelves.addManifest(REPOSITORY, attested.manifest, attested.mediaType, "attested");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const one = await warm(mirror, { references: ["demo:both", "demo:attested"], platforms: ["linux/amd64"] });
  assert.deepEqual(one.summary.failed, []);
  const stored = await mirror.stored();
  for (const image of [amd, attested.attestation]) {
    for (const digest of [image.digest, ...image.blobs.keys()]) assert.ok(stored.includes(hexOf(digest)), digest);
  }
  assert.ok(!stored.includes(hexOf(arm.digest)));
  const some = await warm(mirror, { references: ["demo:both"], platforms: ["linux/arm64", "linux/s390x"] });
  const image = some.events.find(({ event }) => event === "image");
  assert.deepEqual(image, { ...image, missingPlatforms: ["linux/s390x"] });
  const none = await warm(mirror, { references: ["demo:both"], platforms: ["linux/s390x"] });
  assert.deepEqual(none.summary.failed, [
    {
      reference: "demo:both",
      kind: "unknown",
      message: "not made for linux/s390x; there is linux/amd64, linux/arm64",
    },
  ]);
});

for (const referrers of [true, false]) {
  test(`signatures come with their image ${referrers ? "by the list of referrers" : "by tags, where there is no such list"}`, async () => {
    await using upstream = await TestUpstream.start({ referrers });
    const image = makeImage({ seed: 8 });
    upstream.shelves.add(REPOSITORY, image, "1");
    const sbom = makeImage({ seed: 9, layers: [300], subject: image.descriptor, artifactType: "application/spdx" });
    const signature = makeImage({ seed: 10, layers: [200], subject: sbom.descriptor, artifactType: "application/sig" });
    const cosign = makeImage({ seed: 11, layers: [100] });
    const hex = hexOf(image.digest);
    upstream.shelves.add(REPOSITORY, sbom);
    if (referrers) upstream.shelves.add(REPOSITORY, signature);
    else upstream.shelves.add(REPOSITORY, makeIndex([sbom]), `sha256-${hex}`);
    upstream.shelves.add(REPOSITORY, cosign, `sha256-${hex}.sig`);
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
    const { summary } = await warm(mirror, { references: ["demo:1"] });
    assert.deepEqual(summary.failed, []);
    const stored = await mirror.stored();
    const wanted = [image, sbom, cosign, ...(referrers ? [signature] : [])];
    for (const { digest, blobs } of wanted) {
      for (const one of [digest, ...blobs.keys()]) assert.ok(stored.includes(hexOf(one)), one);
    }
    upstream.forgetRequests();
    await warm(mirror, { references: ["demo:1"] });
    assert.deepEqual(
      upstream.requests.map(({ method, reference }) => [method, reference]),
      [["HEAD", "1"]],
    );
  });
}

test("a registry that does not know of referrers, or denies what it has not, spoils nothing", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add(REPOSITORY, makeImage({ seed: 15 }), "1");
  upstream.fault({ kind: "referrers" }, { status: 405 });
  upstream.fault(({ reference = "" }) => reference.startsWith("sha256-"), { status: 403 });
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const { summary } = await warm(mirror, { references: ["demo:1"] });
  assert.deepEqual(summary.failed, []);
  assert.equal(upstream.count({ kind: "referrers" }), 1);
});

test("clients that pull meanwhile join the same fills: the upstream is asked once", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ seed: 12, layers: [200_000, 300_000] });
  upstream.shelves.add(REPOSITORY, image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const gate = upstream.gate({ kind: "blob", method: "GET" }, 1000);
  const warming = warm(mirror, { references: ["demo:1"] });
  await gate.reached;
  const pulls = Array.from({ length: 4 }, async () => {
    assert.equal((await get(`${mirror.url}/v2/${REPOSITORY}/manifests/1`)).status, 200);
    const answers = await Promise.all(
      image.layers.map(({ digest }) => get(`${mirror.url}/v2/${REPOSITORY}/blobs/${digest}`)),
    );
    assert.deepEqual(
      answers.map(({ body }) => body.length),
      [200_000, 300_000],
    );
  });
  setTimeout(() => gate.release(), 50);
  await Promise.all(pulls);
  assert.deepEqual((await warming).summary.failed, []);
  for (const counts of [
    upstream.countsByReference({ kind: "blob", method: "GET" }),
    upstream.countsByReference({ kind: "manifest", method: "GET" }),
  ]) {
    for (const [reference, count] of counts) assert.equal(count, 1, reference);
  }
});

test("a layer that two repositories share is fetched once, and may be read in both", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ seed: 13 });
  upstream.shelves.add("library/one", image, "1");
  upstream.shelves.add("library/two", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const { summary } = await warm(mirror, { references: ["one:1", "two:1"] });
  assert.deepEqual(summary.failed, []);
  for (const [reference, count] of upstream.countsByReference({ kind: "blob", method: "GET" })) {
    assert.equal(count, 1, reference);
  }
  await upstream.close();
  for (const repository of ["library/one", "library/two"]) await pullsWithout(mirror, repository, "1");
});

test("what stands under another upstream already is confirmed there, and not fetched", async () => {
  await using hub = await TestUpstream.start();
  await using other = await TestUpstream.start();
  const image = makeImage({ seed: 14 });
  hub.shelves.add(REPOSITORY, image, "1");
  other.shelves.add("team/demo", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": hub, "ghcr.io": other } });
  await warm(mirror, { references: ["demo:1"] });
  const { summary } = await warm(mirror, { references: ["ghcr.io/team/demo:1"] });
  assert.deepEqual(summary.failed, []);
  assert.equal(other.count({ kind: "blob", method: "GET" }), 0);
  await Promise.all([hub.close(), other.close()]);
  await pullsWithout(mirror, "ghcr.io/team/demo", "1");
});

test("tags are taken by pattern, signatures left out, over as many pages as there are", async () => {
  await using upstream = await TestUpstream.start({ pageSize: 2 });
  const tags = ["3.18", "3.19", "3.19.1", "3.20", "edge", `sha256-${"a".repeat(64)}.sig`];
  for (const [at, tag] of tags.entries()) {
    upstream.shelves.add(REPOSITORY, makeImage({ seed: 20 + at, layers: [10] }), tag);
  }
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const { summary, events } = await warm(mirror, { references: ["demo"], allTags: "3.19*" });
  assert.deepEqual(summary.failed, []);
  const done = events.filter(({ event }) => event === "image").map((event) => Reflect.get(event, "reference"));
  assert.deepEqual(done.sort(), ["demo:3.19", "demo:3.19.1"]);
  assert.equal((await warm(mirror, { references: ["demo"], allTags: "*" })).summary.images, 5);
  const none = await warm(mirror, { references: ["demo", "nothing"], allTags: "4.*" });
  assert.deepEqual(
    none.summary.failed.map(({ kind }) => kind),
    ["unknown", "unknown"],
  );
  await assert.rejects(warm(mirror, { references: ["demo:1"], allTags: "3.*" }), (error) =>
    isFailure(error, "invalid"),
  );
});

test("one image that cannot be had does not stop the others, and each says why", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add(REPOSITORY, makeImage({ seed: 30 }), "good");
  const broken = makeImage({ seed: 31 });
  upstream.shelves.add(REPOSITORY, broken, "broken");
  upstream.shelves.remove(REPOSITORY, broken.layers[1]?.digest ?? "");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const references = ["demo:gone", "demo:broken", "nowhere.example/app:1", "demo:good"];
  const { summary } = await warm(mirror, { references });
  assert.deepEqual(summary.failed.map(({ reference, kind }) => [reference, kind]).sort(), [
    ["demo:broken", "unknown"],
    ["demo:gone", "unknown"],
    ["nowhere.example/app:1", "unknown"],
  ]);
  assert.match(
    summary.failed.find(({ reference }) => reference === "demo:broken")?.message ?? "",
    /has no blob sha256:/,
  );
  await upstream.close();
  await pullsWithout(mirror, REPOSITORY, "good");
});

test("malformed requests are refused, and an offline mirror says that it is offline", async () => {
  await using upstream = await TestUpstream.start();
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { offline: true } });
  const kind = (input: object) =>
    warm(mirror, input).then(
      () => "none",
      (error: unknown) => (isFailure(error) ? error.kind : String(error)),
    );
  for (const reference of ["", "demo:", "UPPER", "demo@sha256:12", "a b", "demo@1.0"]) {
    assert.match(await kind({ references: [reference] }), /invalid|too_small/i, reference);
  }
  assert.equal(await kind({ references: ["demo:1"] }), "denied");
  assert.equal(upstream.requests.length, 0);
});

test("without room an image is not kept, and has failed for that", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add(REPOSITORY, makeImage({ seed: 40, layers: [500_000] }), "1");
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream },
    config: { cache: { maxSize: 100_000 } },
  });
  const { summary } = await warm(mirror, { references: ["demo:1"] });
  assert.deepEqual(
    summary.failed.map(({ kind }) => kind),
    ["storage"],
  );
  assert.match(summary.failed[0]?.message ?? "", /^not kept: /);
});

test("what is said to be warm at the end is there, where there is no room for all of them", async () => {
  await using upstream = await TestUpstream.start();
  const tags = Array.from({ length: 6 }, (_, at) => `${at}`);
  for (const tag of tags) {
    upstream.shelves.add(REPOSITORY, makeImage({ seed: 80 + Number(tag), layers: [300_000] }), tag);
  }
  const config = { cache: { maxSize: 1_000_000 } };
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const { summary } = await warm(mirror, { references: tags.map((tag) => `demo:${tag}`) });
  const failed = new Set(summary.failed.map(({ reference }) => reference));
  assert.ok(failed.size >= 3 && failed.size === summary.failed.length, [...failed].join());
  assert.ok(summary.failed.every(({ message }) => message.startsWith("not kept: ")));
  await upstream.close();
  for (const tag of tags) if (!failed.has(`demo:${tag}`)) await pullsWithout(mirror, REPOSITORY, tag);
});

test("whoever leaves ends it at once, and the next one goes on where it was", async () => {
  await using upstream = await TestUpstream.start();
  const images = [1, 2, 3].map((seed) => makeImage({ seed: 50 + seed, layers: [50_000, 60_000] }));
  for (const [at, image] of images.entries()) upstream.shelves.add(REPOSITORY, image, `${at}`);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const last = images[2]?.layers[1]?.digest ?? "";
  const gate = upstream.gate({ kind: "blob", method: "GET", reference: last }, 1000);
  const abort = new AbortController();
  const references = ["demo:0", "demo:1", "demo:2"];
  const seen: string[] = [];
  const broken = (async () => {
    for await (const { event } of warmEvents(mirror, { references }, abort.signal)) {
      seen.push(event);
      if (event === "image" && seen.filter((one) => one === "image").length === 2) abort.abort(new Error("left"));
    }
  })();
  await assert.rejects(broken, /left/);
  gate.release();
  await mirror.settled();
  upstream.forgetRequests();
  const { summary } = await warm(mirror, { references });
  assert.deepEqual(summary.failed, []);
  assert.deepEqual(upstream.matching({ kind: "blob", method: "GET" }), []);
  assert.deepEqual(await mirror.partials(), []);
});

test("leaving early without a signal ends it as well", async () => {
  await using upstream = await TestUpstream.start();
  for (let at = 0; at < 20; at++)
    upstream.shelves.add(REPOSITORY, makeImage({ seed: 60 + at, layers: [100] }), `${at}`);
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const over = new Promise<boolean>((resolve) => {
    mirror.mirror.notices.on("warmed", ({ brokenOff }) => resolve(brokenOff));
  });
  const gate = upstream.gate(({ reference = "" }) => Number(reference) >= 3, "headers");
  const references = Array.from({ length: 20 }, (_, at) => `demo:${at}`);
  for await (const { event } of warmEvents(mirror, { references }, new AbortController().signal)) {
    if (event === "image") break;
  }
  assert.equal(await over, true);
  gate.release();
  const asked = upstream.requests.flatMap(({ reference = "" }) => (/^\d+$/.test(reference) ? [Number(reference)] : []));
  assert.ok(Math.max(...asked) <= 5, `${asked}`);
});
