/**
 * From a request's words to an upstream and a name, and the globs that limit names.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Failure, isFailure } from "../../../src/base/failure.ts";
import { canonicalRegistryName } from "../../../src/config/registry-name.ts";
import { matchesGlob, mayPull } from "../../../src/upstream/registries/repositories.ts";
import {
  type Addressing,
  createRoutingTable,
  routeTo,
  selectUpstream,
} from "../../../src/upstream/registries/routing.ts";

const everything = { allow: ["**"], deny: [] };
const entry = (name: string, hosts: string[] = [], repositories: { allow: string[]; deny: string[] } = everything) => ({
  upstream: { name },
  hosts,
  repositories,
});
const table = createRoutingTable(
  [
    entry("docker.io", ["hub.mirror.test"]),
    entry("ghcr.io", ["ghcr.mirror.test:8443"]),
    entry("registry.example.com:5000"),
    entry("team", [], { allow: ["app/**"], deny: ["app/secret/*"] }),
  ],
  "docker.io",
);
const route = (name: string, addressing: Addressing = {}) => {
  const { upstream, repository } = routeTo(table, addressing, name);
  return `${upstream.name} ${repository}`;
};
const fails = (kind: string, code: string, run: () => unknown) =>
  assert.throws(run, (error) => isFailure(error) && error.kind === kind && error.code === code);

describe("routing", () => {
  test("ns comes before Host, Host before prefix, prefix before the first component, that before the default", () => {
    const all = { ns: "registry.example.com:5000", host: "hub.mirror.test", prefix: "ghcr.io" };
    assert.equal(route("a/b", all), "registry.example.com:5000 a/b");
    assert.equal(route("a/b", { ...all, ns: undefined }), "docker.io a/b");
    assert.equal(route("a/b", { prefix: "ghcr.io" }), "ghcr.io a/b");
    assert.equal(route("ghcr.io/a/b"), "ghcr.io a/b");
    assert.equal(route("Registry.Example.com:5000/a"), "registry.example.com:5000 a");
    assert.equal(route("a/b"), "docker.io a/b");
  });

  test("a registry named twice is stripped once", () => {
    assert.equal(route("ghcr.io/a/b", { ns: "ghcr.io" }), "ghcr.io a/b");
    assert.equal(route("docker.io/alpine", { prefix: "index.docker.io" }), "docker.io library/alpine");
    assert.equal(route("team/app/x", { ns: "team" }), "team app/x");
  });

  test("the aliases of Docker Hub are one registry, and one component gets library/", () => {
    for (const alias of [
      "docker.io",
      "index.docker.io",
      "registry-1.docker.io",
      "registry.hub.docker.com",
      "DOCKER.io",
    ]) {
      assert.equal(canonicalRegistryName(alias), "docker.io");
      assert.equal(route("alpine", { ns: alias }), "docker.io library/alpine");
      assert.equal(route(`${alias}/alpine`), "docker.io library/alpine");
    }
    assert.equal(route("alpine", { ns: "ghcr.io" }), "ghcr.io alpine");
  });

  test("a Host matches with its port, and without where the configuration names none", () => {
    assert.equal(route("a", { host: "HUB.mirror.test:5000" }), "docker.io library/a");
    assert.equal(route("a", { host: "ghcr.mirror.test:8443" }), "ghcr.io a");
    assert.equal(route("a", { host: "ghcr.mirror.test:1" }), "docker.io library/a");
  });

  test("a registry that is not configured is unknown, in whatever form it is named", () => {
    fails("unknown", "NAME_UNKNOWN", () => route("a/b", { ns: "evil.example" }));
    fails("unknown", "NAME_UNKNOWN", () => route("a/b", { ns: "" }));
    fails("unknown", "NAME_UNKNOWN", () => route("a/b", { prefix: "evil.example" }));
    fails("unknown", "NAME_UNKNOWN", () => route("quay.io/a/b"));
    fails("unknown", "NAME_UNKNOWN", () => route("localhost/a"));
    fails("unknown", "NAME_UNKNOWN", () => route("other.example:99/a"));
    fails("unknown", "NAME_UNKNOWN", () => routeTo(createRoutingTable([entry("ghcr.io")], "none"), {}, "a/b"));
    assert.throws(() => route("quay.io/a/b"), /"quay\.io" is not configured.*`upstreams`/);
  });

  test("a registry that is not configured is no repository of a default upstream of one's own, unless that is named", () => {
    const own = createRoutingTable([entry("own.test:5000"), entry("ghcr.io")], "own.test:5000");
    fails("unknown", "NAME_UNKNOWN", () => routeTo(own, {}, "quay.io/a/b"));
    assert.equal(routeTo(own, {}, "own.test:5000/quay.io/a/b").repository, "quay.io/a/b");
    assert.equal(routeTo(own, { ns: "own.test:5000" }, "quay.io/a/b").repository, "quay.io/a/b");
    assert.equal(routeTo(own, {}, "team/a.b").repository, "team/a.b");
    const google = createRoutingTable([entry("gcr.io")], "gcr.io");
    assert.equal(routeTo(google, {}, "example.com/project/image").repository, "example.com/project/image");
  });

  test("calls without a name select by ns, Host and prefix, or nothing", () => {
    assert.equal(selectUpstream(table, {}), undefined);
    assert.equal(selectUpstream(table, { host: "localhost:5000" }), undefined);
    assert.equal(selectUpstream(table, { ns: "ghcr.io" })?.name, "ghcr.io");
    fails("unknown", "NAME_UNKNOWN", () => selectUpstream(table, { prefix: "nope.example" }));
  });

  test("malformed names are invalid", () => {
    for (const name of ["", "/", "A/b", "a//b", "ghcr.io/", "ghcr.io/../x", "a/b/"]) {
      assert.throws(() => route(name, { ns: "ghcr.io" }), Failure, name);
    }
    fails("invalid", "NAME_INVALID", () => route("ghcr.io/A"));
  });

  test("rules refuse what they do not allow", () => {
    assert.equal(route("team/app/web/x"), "team app/web/x");
    fails("denied", "DENIED", () => route("team/other"));
    fails("denied", "DENIED", () => route("team/app/secret/key"));
  });

  test("whatever is asked, the answer is a configured upstream or a Failure", () => {
    const word = fc.oneof(
      fc.string(),
      fc.stringMatching(/^[a-zA-Z0-9.:/_-]{0,40}$/),
      fc.constantFrom("ghcr.io", "docker.io/x", "team/app/x", "ghcr.io/ghcr.io/x"),
    );
    const addressing = fc.record({ ns: word, host: word, prefix: word }, { requiredKeys: [] });
    fc.assert(
      fc.property(word, addressing, (name, named) => {
        try {
          const found = routeTo(table, named, name);
          assert.equal(table.find(found.upstream.name), found.upstream);
        } catch (error) {
          assert.ok(error instanceof Failure);
        }
      }),
    );
  });
});

describe("repository globs", () => {
  test("one star stays in its component, two cross any number", () => {
    const cases: [string, string, boolean][] = [
      ["**", "a/b/c", true],
      ["library/*", "library/alpine", true],
      ["library/*", "library/a/b", false],
      ["library/**", "library/a/b", true],
      ["**/cache", "cache", true],
      ["a/**/z", "a/z", true],
      ["a/**/z", "a/b/c/z", true],
      ["a/**/z", "a/b/c", false],
      ["app-*", "app-web", true],
      ["*-*-x", "a-b-c-x", true],
      ["alpine", "alpine", true],
      ["alpine", "alpine2", false],
      ["al.ine", "alpine", false],
    ];
    for (const [pattern, name, expected] of cases)
      assert.equal(matchesGlob(pattern, name), expected, `${pattern} ${name}`);
    assert.equal(mayPull({ allow: [], deny: [] }, "a"), false);
  });

  test("a pattern of many stars costs little", () => {
    const startedAt = performance.now();
    matchesGlob(`${"*a".repeat(100)}b`, "a".repeat(255));
    matchesGlob(`${"**/a/".repeat(50)}b`, "a/".repeat(120));
    assert.ok(performance.now() - startedAt < 500);
  });
});
