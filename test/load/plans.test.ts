/** What is decided before anything is sent: names and paths, requests per client, platforms, pieces, popularity. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { OrderedHash, planChunks, rangeHeader } from "../../src/load/chunks.ts";
import { readManifest } from "../../src/load/image.ts";
import { Mishap, mishapOf, retryAfterOf } from "../../src/load/mishap.ts";
import { blobUrl, findOfficial, manifestUrl, parseImageName, pingUrl, placeOf } from "../../src/load/place.ts";
import { eachOf } from "../../src/load/pool.ts";
import { pingsFirst, planBlob, planBlobs, planManifest, planResolution } from "../../src/load/profile.ts";
import { backoffMs } from "../../src/load/scenarios.ts";
import { seededRandom, zipfRank, zipfShares } from "../../src/load/zipf.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseReference } from "../../src/oci/reference.ts";
import { seededBytes } from "../kit/content.ts";
import { makeImage, makeIndex } from "../kit/image.ts";

const DIGEST = `sha256:${"a".repeat(64)}`;

test("references are read as Docker writes them", () => {
  const read = (text: string) => {
    const { registry, repository, reference } = parseImageName(text);
    return [registry, repository, reference.type === "tag" ? reference.tag : reference.digest];
  };
  assert.deepEqual(read("alpine"), [undefined, "alpine", "latest"]);
  assert.deepEqual(read("team/app:1.2"), [undefined, "team/app", "1.2"]);
  assert.deepEqual(read("docker.io/alpine:3"), ["docker.io", "library/alpine", "3"]);
  assert.deepEqual(read("index.docker.io/team/app"), ["docker.io", "team/app", "latest"]);
  assert.deepEqual(read(`ghcr.io/owner/app@${DIGEST}`), ["ghcr.io", "owner/app", DIGEST]);
  assert.deepEqual(read(`ghcr.io/owner/app:1@${DIGEST}`), ["ghcr.io", "owner/app", DIGEST]);
  assert.deepEqual(read("localhost:5000/app:x"), ["localhost:5000", "app", "x"]);
  for (const bad of ["", "Alpine", "a b", "app:", "app@sha256:12", "-x", "ghcr.io/", "app:1:2"]) {
    assert.throws(
      () => parseImageName(bad),
      (error) => isFailure(error, "invalid"),
      bad,
    );
  }
});

test("each client names the mirrored registry in its own way", () => {
  const url = (as: "dockerd" | "containerd" | "podman", text: string, base = "http://m:5000", prefix?: string) =>
    manifestUrl(placeOf(parseImageName(text), new URL(base), as, prefix)).href;
  assert.equal(url("dockerd", "docker.io/alpine"), "http://m:5000/v2/library/alpine/manifests/latest");
  assert.equal(url("dockerd", "docker.io/alpine", "http://m/hub/"), "http://m/hub/v2/library/alpine/manifests/latest");
  assert.throws(() => url("dockerd", "ghcr.io/a/b"), /Docker Hub's images only/);
  assert.equal(url("containerd", "ghcr.io/a/b:1"), "http://m:5000/v2/a/b/manifests/1?ns=ghcr.io");
  assert.equal(url("containerd", "r:5000/a"), "http://m:5000/v2/a/manifests/latest?ns=r%3A5000");
  assert.equal(url("containerd", "a/b"), "http://m:5000/v2/a/b/manifests/latest");
  assert.equal(url("containerd", "m:5000/a/b"), "http://m:5000/v2/a/b/manifests/latest");
  assert.equal(url("containerd", "a", "http://m/x/v2"), "http://m/x/v2/a/manifests/latest");
  assert.equal(url("podman", "ghcr.io/a/b"), "http://m:5000/v2/ghcr.io/a/b/manifests/latest");
  assert.equal(url("podman", "r:5000/a"), "http://m:5000/v2/r:5000/a/manifests/latest");
  assert.equal(
    url("podman", "ghcr.io/a/b", "http://m:5000", "proxy/gh"),
    "http://m:5000/v2/proxy/gh/a/b/manifests/latest",
  );
  assert.equal(url("podman", "ghcr.io/a/b", "http://m:5000", ""), "http://m:5000/v2/a/b/manifests/latest");
  assert.equal(url("podman", "ghcr.io/a/b", "http://m/gh"), "http://m/v2/gh/a/b/manifests/latest");
  assert.equal(url("podman", "a"), "http://m:5000/v2/a/manifests/latest");
  const place = placeOf(parseImageName("ghcr.io/a/b"), new URL("http://m/x"), "containerd", undefined);
  assert.equal(pingUrl(place).href, "http://m/x/v2/");
  assert.equal(blobUrl(place, DIGEST).href, `http://m/x/v2/a/b/blobs/${DIGEST}?ns=ghcr.io`);
  assert.equal(findOfficial(parseImageName("alpine"))?.repository, "library/alpine");
  assert.equal(findOfficial(parseImageName("a/b")), undefined);
});

test("each client has its own order of requests, headers and layers at once", () => {
  const tag = parseReference("1");
  const byDigest = parseReference(DIGEST);
  assert.deepEqual(
    (["dockerd", "containerd", "podman"] as const).map((as) => [
      pingsFirst(as),
      planResolution(as, tag)?.method,
      planResolution(as, byDigest)?.method,
      Array.isArray(planManifest(as, undefined).headers["accept"]),
    ]),
    [
      [true, "HEAD", undefined, true],
      [false, "HEAD", "HEAD", false],
      [true, undefined, undefined, true],
    ],
  );
  assert.equal(planManifest("containerd", "a/b").headers["accept"], "a/b, */*");
  assert.equal(planManifest("podman", "a/b").headers["accept"]?.length, 6);
  const image = makeImage();
  const plan = { digest: image.digest, config: image.config, layers: image.layers };
  const shape = (as: "dockerd" | "containerd" | "podman", concurrency?: number) =>
    planBlobs(as, plan, concurrency).map((lanes) => lanes.map(({ blobs, atOnce }) => [blobs.length, atOnce]));
  assert.deepEqual(shape("dockerd"), [
    [
      [1, 1],
      [3, 3],
    ],
  ]);
  assert.deepEqual(shape("containerd"), [[[4, 3]]]);
  assert.deepEqual(shape("podman"), [[[1, 1]], [[3, 6]]]);
  assert.deepEqual(shape("containerd", 9), [[[4, 9]]]);
  assert.equal(planBlob("containerd", image.config).headers["accept"], `${image.config.mediaType}, */*`);
});

test("an index leads to the platform's manifest, and a manifest to its blobs, each once", () => {
  const amd = makeImage({ layers: [seededBytes(10), seededBytes(10), seededBytes(20)] });
  const arm = makeImage({ architecture: "arm64", seed: 2 });
  const index = makeIndex([amd, arm]);
  const read = (bytes: Buffer, type: string | undefined, platform = "linux/amd64") =>
    readManifest(bytes, type, { digest: digestOf(bytes), platform });
  const child = read(index.manifest, index.mediaType, "linux/arm64");
  assert.equal(child.type === "index" && child.child.digest, arm.digest);
  assert.throws(
    () => read(index.manifest, index.mediaType, "linux/s390x"),
    /no linux\/s390x; it has: linux\/amd64, linux\/arm64/,
  );
  const found = read(amd.manifest, undefined);
  assert.ok(found.type === "image");
  assert.equal(found.image.config?.digest, amd.config.digest);
  assert.equal(found.image.layers.length, 2);
  for (const bad of ["", "[]", "{}", "<html>", `{"manifests":[]}`]) {
    assert.throws(() => read(Buffer.from(bad), undefined), Mishap, bad);
  }
});

test("pieces cover a layer without a gap, and none is empty", () => {
  assert.deepEqual(planChunks(0, 10), []);
  assert.deepEqual(planChunks(10, 10), [{ index: 0, start: 0, end: 10 }]);
  assert.deepEqual(
    planChunks(21, 10).map(({ start, end }) => [start, end]),
    [
      [0, 10],
      [10, 20],
      [20, 21],
    ],
  );
  const [, second] = planChunks(21, 10);
  assert.ok(second !== undefined);
  assert.equal(rangeHeader(second, true), "bytes=10-");
  assert.equal(rangeHeader(second, false), "bytes=10-19");
});

test("pieces that come in any order are hashed in theirs, and one too early is asked to wait", async () => {
  const bytes = seededBytes(9_000_000, 5);
  const hash = new OrderedHash(digestOf(bytes));
  const [first, second] = [bytes.subarray(0, 4_000_000), bytes.subarray(4_000_000)];
  const wait = hash.write(1, second);
  assert.ok(wait !== undefined, "five megabytes ahead of its turn");
  assert.equal(hash.write(0, first), undefined);
  hash.finish(0);
  await wait;
  hash.finish(1);
  assert.equal(hash.matches(), true);
  const other = new OrderedHash(digestOf(bytes));
  other.write(0, second);
  other.finish(0);
  assert.equal(other.matches(), false);
});

test("Zipf's shares rise to one, the first rank is the most popular one, and a seed is a sequence", () => {
  const shares = zipfShares(5, 1);
  assert.equal(shares.at(-1), 1);
  const counts = [0, 0, 0, 0, 0];
  const random = seededRandom(7);
  for (let at = 0; at < 20_000; at += 1) {
    const rank = zipfRank(shares, random());
    counts[rank] = (counts[rank] ?? 0) + 1;
  }
  // 1/H(5) = 43.8 % for the first, half of it for the second.
  assert.ok(Math.abs((counts[0] ?? 0) / 20_000 - 0.438) < 0.02, String(counts));
  assert.ok(Math.abs((counts[1] ?? 0) / 20_000 - 0.219) < 0.02, String(counts));
  assert.deepEqual(
    counts.toSorted((a, b) => b - a),
    counts,
  );
  const [one, two] = [seededRandom(3), seededRandom(3)];
  assert.deepEqual([one(), one(), one()], [two(), two(), two()]);
  assert.notEqual(seededRandom(4)(), seededRandom(3)());
  assert.deepEqual(zipfShares(4, 0), [0.25, 0.5, 0.75, 1]);
  assert.equal(zipfRank([1], 0.999), 0);
  assert.equal(zipfRank(zipfShares(3, 2), 0.9999999), 2);
});

test("errors are told apart by what a reader would do about them", () => {
  const kind = (code: string, answered = false) => mishapOf(Object.assign(new Error("x"), { code }), answered).kind;
  assert.equal(kind("ECONNREFUSED"), "connect");
  assert.equal(kind("ENOTFOUND"), "connect");
  assert.equal(kind("EMFILE"), "connect");
  assert.equal(kind("DEPTH_ZERO_SELF_SIGNED_CERT"), "tls");
  assert.equal(kind("ERR_TLS_CERT_ALTNAME_INVALID"), "tls");
  assert.match(mishapOf(new Error("SSL wrong version number\nmore"), false).message, /http:\/\//);
  assert.equal(kind("ECONNRESET"), "reset");
  assert.equal(kind("ECONNRESET", true), "short body");
  assert.equal(kind("HPE_INVALID_CONSTANT"), "bad answer");
  assert.equal(retryAfterOf("3", 0), 3000);
  assert.equal(retryAfterOf("Thu, 01 Jan 1970 00:00:05 GMT", 1000), 4000);
  assert.equal(retryAfterOf("soon", 0), undefined);
  assert.deepEqual(
    [1, 2, 3, 50].map((failures) => backoffMs(failures, undefined)),
    [100, 200, 400, 5000],
  );
  assert.equal(backoffMs(1, 2000), 2000);
  assert.equal(backoffMs(1, 3_600_000), 5000);
});

test("of work on a list, the first failure begins nothing more and waits for what runs", async () => {
  const begun: number[] = [];
  let running = 0;
  const work = eachOf([0, 1, 2, 3, 4, 5], 2, async (item) => {
    begun.push(item);
    running += 1;
    await new Promise((resolve) => setImmediate(resolve));
    running -= 1;
    if (item === 1) throw new Error("the second one");
  });
  await assert.rejects(work, /the second one/);
  assert.equal(running, 0);
  assert.ok(begun.length < 6);
  await eachOf([], 3, async () => assert.fail());
});
