/** From a request target to the operation it asks for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type FailureKind, isFailure } from "../../src/base/failure.ts";
import { parseCall } from "../../src/http/call.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseRepository } from "../../src/oci/reference.ts";

const DIGEST = digestOf(Buffer.from("x"));
const NO_PAGING = { n: undefined, last: undefined, opaque: "" };
const callOf = (target: string) => parseCall(target).call;
const refused = (target: string, kind: FailureKind, code?: string) =>
  assert.throws(
    () => parseCall(target),
    (error) => isFailure(error, kind) && (code === undefined || error.code === code),
    target.slice(0, 200),
  );

test("every endpoint for reading is known", () => {
  for (const ping of ["/v2/", "/v2", "/v2/?", "/v2?x=1"]) assert.deepEqual(callOf(ping), { kind: "ping" });
  assert.deepEqual(callOf("/v2/_catalog"), { kind: "catalog", paging: NO_PAGING });
  assert.deepEqual(callOf("/v2/library/alpine/manifests/3.20"), {
    kind: "manifest",
    name: "library/alpine",
    reference: { type: "tag", tag: "3.20" },
  });
  assert.deepEqual(callOf(`/v2/a/manifests/${DIGEST}`), {
    kind: "manifest",
    name: "a",
    reference: { type: "digest", digest: DIGEST },
  });
  assert.deepEqual(callOf(`/v2/a/b/c/blobs/${DIGEST}`), { kind: "blob", name: "a/b/c", digest: DIGEST });
  assert.deepEqual(callOf("/v2/a/tags/list"), { kind: "tags", name: "a", paging: NO_PAGING });
  assert.deepEqual(callOf(`/v2/a/referrers/${DIGEST}?artifactType=x/y`), {
    kind: "referrers",
    name: "a",
    digest: DIGEST,
    artifactType: "x/y",
    paging: NO_PAGING,
  });
});

test("the name is read from the right: it may hold the words of the API", () => {
  assert.equal((callOf("/v2/manifests/manifests/manifests") as { name: string }).name, "manifests");
  assert.equal((callOf(`/v2/blobs/uploads/blobs/${DIGEST}`) as { name: string }).name, "blobs/uploads");
  assert.equal((callOf("/v2/a/manifests/b/manifests/c") as { name: string }).name, "a/manifests/b");
  assert.equal((callOf("/v2/tags/list/tags/list") as { name: string }).name, "tags/list");
  assert.equal((callOf("/v2/v2/v2/manifests/v2") as { name: string }).name, "v2/v2");
  assert.equal(callOf("/v2/a/_catalog/manifests/x").kind, "manifest");
});

test("each form of naming the upstream is kept apart", () => {
  const manifest = { kind: "manifest", reference: { type: "tag", tag: "3" } };
  for (const [target, name, ns, prefix] of [
    ["/v2/alpine/manifests/3?ns=docker.io", "alpine", "docker.io", undefined],
    ["/v2/alpine/manifests/3", "alpine", undefined, undefined],
    ["/docker.io/v2/library/alpine/manifests/3", "library/alpine", undefined, "docker.io"],
    ["/v2/docker.io/library/alpine/manifests/3", "docker.io/library/alpine", undefined, undefined],
    ["/localhost:5000/v2/app/manifests/3?ns=ghcr.io", "app", "ghcr.io", "localhost:5000"],
    ["/v2/localhost:5000/app/manifests/3", "localhost:5000/app", undefined, undefined],
    ["/v2/alpine/manifests/3?ns=", "alpine", undefined, undefined],
  ] as const) {
    assert.deepEqual(parseCall(target), { call: { ...manifest, name }, ns, prefix }, target);
  }
  assert.deepEqual(parseCall("/ghcr.io/v2/"), { call: { kind: "ping" }, ns: undefined, prefix: "ghcr.io" });
  assert.deepEqual(parseCall("/ghcr.io/v2"), { call: { kind: "ping" }, ns: undefined, prefix: "ghcr.io" });
});

test("the path is percent-decoded once", () => {
  assert.deepEqual(callOf(`/v2/a/blobs/${DIGEST.replace(":", "%3A")}`), { kind: "blob", name: "a", digest: DIGEST });
  assert.deepEqual(callOf("/v2/library%2Falpine/manifests/3"), callOf("/v2/library/alpine/manifests/3"));
  assert.deepEqual(callOf("/v2/%61lpine/manifests/%33"), callOf("/v2/alpine/manifests/3"));
});

test("a path that is encoded twice or badly is refused", () => {
  for (const target of [
    "/v2/a%252Fb/manifests/x",
    "/v2/a/manifests/%2578",
    "/v2/%25/manifests/x",
    "/v2/a/manifests/%",
    "/v2/a/manifests/%zz",
    "/v2/a/manifests/%ff",
    "/v2/a/manifests/%c3%28",
    "/v2/%",
  ]) {
    refused(target, "invalid", "NAME_INVALID");
  }
});

test("no way up or around becomes a valid name", () => {
  for (const target of [
    "/v2/../../etc/manifests/x",
    "/v2/%2e%2e/%2e%2e/etc/manifests/x",
    "/v2/..%2fetc/manifests/x",
    "/v2/./a/manifests/x",
    "/v2/a/../b/manifests/x",
    "/v2//manifests/x",
    "/v2//a/manifests/x",
    "/v2/a//b/manifests/x",
    "/v2/a//manifests/x",
    "/v2/manifests/x",
    "/v2/a%00/manifests/x",
    "/v2/a%0d%0a/manifests/x",
    "/v2/a%5Cb/manifests/x",
    "/v2/%2fa/manifests/x",
    `/v2/../blobs/${DIGEST}`,
    "/v2//tags/list",
  ]) {
    const call = callOf(target);
    assert.ok("name" in call, target);
    assert.throws(
      () => parseRepository(call.name),
      (error) => isFailure(error, "invalid"),
      target,
    );
  }
  for (const target of ["/v2/a/manifests/..", "/v2/a/manifests/%2e%2e", "/v2/a/manifests/.", "/v2/a/manifests/"]) {
    refused(target, "invalid");
  }
  for (const target of ["//v2/a/manifests/x", "/v2/..", "/v2/a/tags/list/", "/v2/a/manifests/x/", "/%2e/../v2"]) {
    refused(target, "unknown");
  }
});

test("a bad digest is told as one", () => {
  for (const bad of ["latest", "sha256:abc", "sha256:", `sha256:${"A".repeat(64)}`, "md5:0", `${DIGEST}x`]) {
    refused(`/v2/a/blobs/${bad}`, "invalid", "DIGEST_INVALID");
    refused(`/v2/a/referrers/${bad}`, "invalid", "DIGEST_INVALID");
  }
  refused("/v2/a/manifests/sha256:abc", "invalid", "DIGEST_INVALID");
  refused("/v2/a/manifests/-x", "invalid", "MANIFEST_INVALID");
});

test("endpoints for pushing are not supported, in every form they have", () => {
  for (const target of [
    "/v2/a/blobs/uploads/",
    "/v2/a/blobs/uploads",
    "/v2/a/b/blobs/uploads/some-session",
    `/v2/a/blobs/uploads/?digest=${DIGEST}`,
    "/v2/a/blobs/uploads/?mount=x&from=b",
    "/ghcr.io/v2/a/blobs/uploads/",
  ]) {
    refused(target, "unsupported", "UNSUPPORTED");
  }
});

test("a path that is no endpoint is unknown", () => {
  for (const target of [
    "",
    "/",
    "*",
    "v2/",
    "/v1/",
    "/v1/repositories/a/images",
    "/v20/",
    "/v2x",
    "/V2/",
    "/healthz",
    "/metrics",
    "/v2/a",
    "/v2/a/b/c",
    "/v2/a/tags/other",
    "/v2/a/tags",
    "/v2/a/uploads/x",
    "/v2/a/manifests",
    "/v2/_catalog/",
    "/x/y/v2/",
    "/x/y/v2/a/manifests/b",
    "/favicon.ico",
  ]) {
    refused(target, "unknown");
  }
});

test("paging is read, and what else the query holds is handed on", () => {
  assert.deepEqual(callOf("/v2/a/tags/list?n=10&last=x%2Fy"), {
    kind: "tags",
    name: "a",
    paging: { n: 10, last: "x/y", opaque: "" },
  });
  assert.deepEqual(callOf("/v2/a/tags/list?n=0"), { kind: "tags", name: "a", paging: { ...NO_PAGING, n: 0 } });
  assert.deepEqual(callOf("/v2/a/tags/list?next_page=abc&ns=ghcr.io&n=5"), {
    kind: "tags",
    name: "a",
    paging: { n: 5, last: undefined, opaque: "next_page=abc" },
  });
  for (const bad of ["-1", "x", "1.5", "1e3", "", " 1", "+1", "9999999999", "0x10"]) {
    refused(`/v2/a/tags/list?n=${encodeURIComponent(bad)}`, "invalid", "PAGINATION_NUMBER_INVALID");
    refused(`/v2/_catalog?n=${encodeURIComponent(bad)}`, "invalid", "PAGINATION_NUMBER_INVALID");
  }
});

test("a target without end is refused before it is read", () => {
  refused(`/v2/${"a/".repeat(3000)}manifests/x`, "invalid");
  refused(`/v2/?${"%".repeat(5000)}`, "invalid");
});

test("no target makes the parser throw anything but a failure", () => {
  const piece = fc.constantFrom(
    ..."/v2 /v2/ manifests blobs uploads tags list referrers _catalog / // .. %2F %25 %00 %ff ? & = n last ns : @ a".split(
      " ",
    ),
    DIGEST,
    "\0",
    "\ud800",
    "é",
  );
  const target = fc.oneof(
    fc.string(),
    fc.string({ unit: "binary" }),
    fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join("")),
    fc.array(piece, { maxLength: 12 }).map((pieces) => `/v2/${pieces.join("/")}`),
    fc.webPath().map((path) => `/v2${path}`),
  );
  fc.assert(
    fc.property(target, (text) => {
      try {
        const { call, prefix } = parseCall(text);
        if ("reference" in call && call.reference.type === "tag") assert.ok(!call.reference.tag.includes("/"));
        if (prefix !== undefined) assert.ok(!prefix.includes("/") || text.includes("%"));
      } catch (error) {
        assert.ok(isFailure(error, "invalid", "unknown", "unsupported"), String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
