/**
 * What is known of registries: by name, by pattern, by what they say.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseChallenges } from "../../../src/upstream/auth/challenge.ts";
import { parseEndpoint } from "../../../src/upstream/endpoints/endpoint.ts";
import { documentedLimits, lookAtFamily } from "../../../src/upstream/probe/familyview.ts";
import { FAMILIES, findFamily } from "../../../src/upstream/registries/families.ts";
import { findKnown, findKnownAt, KNOWN_REGISTRIES } from "../../../src/upstream/registries/known.ts";

test("a registry is known by its name, its aliases, and its pattern", () => {
  const expected = {
    "docker.io": "hub",
    "Index.Docker.io": "hub",
    "registry-1.docker.io": "hub",
    "ghcr.io": "ghcr",
    "quay.io": "quay",
    "registry.k8s.io": "k8s",
    "mcr.microsoft.com": "mcr",
    "public.ecr.aws": "ecrPublic",
    "ecr-public.aws.com": "ecrPublic",
    "registry.gitlab.com": "gitlab",
    "gitlab.com": "gitlabProxy",
    "gcr.io": "google",
    "eu.gcr.io": "google",
    "europe-west1-docker.pkg.dev": "google",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com": "ecr",
    "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com": "ecr",
    "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn": "ecr",
    "123456789012.dkr-ecr.us-east-1.on.aws": "ecr",
    "contoso.azurecr.io": "acr",
    "contoso.westeurope.geo.azurecr.io": "acr",
    "contoso.azurecr.us": "acr",
    "corp.jfrog.io": "artifactory",
  };
  const found = Object.fromEntries(Object.keys(expected).map((name) => [name, findKnown(name)?.family]));
  assert.deepEqual(found, expected);
});

test("names that only look like a known registry are not known", () => {
  for (const name of [
    "ghcr.io.evil.example",
    "evil-ghcr.io",
    "ghcr.io:8443",
    "contoso.azurecr.io.evil.example",
    "x.y.azurecr.io",
    "evil.example-docker.pkg.dev",
    "12345.dkr.ecr.eu-west-1.amazonaws.com",
    "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
    "registry.example.com",
  ]) {
    assert.equal(findKnown(name), undefined, name);
    assert.equal(findKnownAt(new URL(`https://${name}/`)), undefined, name);
  }
});

test("what is known of a registry holds for its own origin only", () => {
  assert.equal(findKnownAt(new URL("https://registry-1.docker.io"))?.family, "hub");
  assert.equal(findKnownAt(new URL("https://contoso.azurecr.io"))?.family, "acr");
  for (const url of ["http://contoso.azurecr.io", "https://contoso.azurecr.io:8443", "http://registry-1.docker.io"])
    assert.equal(findKnownAt(new URL(url)), undefined, url);
});

test("an API is where the name says, but for Docker Hub", () => {
  assert.equal(parseEndpoint("docker.io", undefined).href, "https://registry-1.docker.io/");
  assert.equal(parseEndpoint("contoso.azurecr.io", undefined).href, "https://contoso.azurecr.io/");
  for (const known of KNOWN_REGISTRIES) {
    const api = new URL(known.apiUrl);
    assert.equal(api.protocol, "https:", known.name);
    assert.equal(findKnownAt(api)?.name, known.name);
    for (const host of known.realmHosts) assert.equal(URL.parse(`https://${host}/`)?.host, host);
  }
});

test("limits are told for whom and for what", () => {
  const limitsOf = (name: string) =>
    (findKnown(name)?.limits ?? []).map(({ who, requests, perMs }) => [who, requests, perMs]);
  assert.deepEqual(limitsOf("docker.io"), [
    ["anonymous", 100, 21_600_000],
    ["authenticated", 200, 21_600_000],
  ]);
  assert.deepEqual(limitsOf("public.ecr.aws")[0], ["anonymous", 1, 1000]);
  assert.equal(findKnown("docker.io")?.limitProbe, "ratelimitpreview/test");
  for (const [family, facts] of Object.entries(FAMILIES)) assert.equal(facts.family, family);
});

test("a registry on a host of its owner's is told by what it says", () => {
  const of = (challenge: string, headers: Record<string, string> = {}) =>
    findFamily({ challenges: parseChallenges(challenge), headers })?.family;
  assert.equal(of('Bearer realm="https://h.example/service/token",service="harbor-registry"'), "harbor");
  assert.equal(of('Bearer realm="https://git.example/jwt/auth",service="container_registry"'), "gitlab");
  assert.equal(of('Bearer realm="https://git.example/jwt/auth",service="dependency_proxy"'), "gitlabProxy");
  assert.equal(of('Basic realm="Artifactory Realm"'), "artifactory");
  assert.equal(of('Bearer realm="https://a.example/artifactory/api/docker/hub/v2/token"'), "artifactory");
  assert.equal(of("", { "x-jfrog-version": "Artifactory/7.90.1" }), "artifactory");
  assert.equal(of('Bearer realm="https://q.example/v2/auth",service="q.example"'), "quay");
  assert.equal(of('Bearer realm="https://dtr.example/auth/token",service="dtr.example"'), "trusted");
  assert.equal(of('Basic realm="x"', { "docker-distribution-api-version": "registry/2.0" }), "distribution");
  assert.equal(of('Bearer realm="x",service="__proto__"'), undefined);
  assert.equal(of('Negotiate, Bearer realm="https://r.example/t"'), undefined);
});

test("who an address tells is not asked for signs, and what it documents is for whom it says", () => {
  const said = { challenges: parseChallenges('Bearer service="harbor-registry"'), headers: {} };
  const ghcr = lookAtFamily(new URL("https://ghcr.io"), said);
  assert.deepEqual([ghcr?.name, ghcr?.knownBy, ghcr?.referrers], ["ghcr", "address", "no"]);
  const harbor = lookAtFamily(new URL("https://reg.test"), said);
  assert.deepEqual([harbor?.name, harbor?.knownBy, harbor?.referrers], ["harbor", "answer", "not known"]);
  assert.equal(lookAtFamily(new URL("https://reg.test"), undefined), undefined);
  assert.equal(documentedLimits("hub", "anonymous")[0]?.requests, 100);
  assert.deepEqual(documentedLimits("ecr", "anonymous"), []);
  assert.deepEqual(documentedLimits(undefined, "anonymous"), []);
});
