/** The start-up summary: everything a person needs to point a client at the mirror. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type SummaryFacts, summaryText } from "../../src/cli/summary.ts";

const facts: SummaryFacts = {
  version: "1.2.3",
  registry: { host: "127.0.0.1", port: 5000 },
  tls: false,
  admin: { host: "127.0.0.1", port: 5001 },
  hostName: "box",
  upstreams: [
    { name: "docker.io", accounts: ["robot", "helper pass"] },
    { name: "ghcr.io", accounts: [] },
  ],
  defaultUpstream: "docker.io",
  offline: false,
  cacheDir: "/var/lib/wharfinger",
  maxSize: 50 * 2 ** 30,
};

test("it says version, address, upstreams, cache, admin addresses and what Docker needs", () => {
  assert.equal(
    summaryText(facts),
    `wharfinger 1.2.3 serves http://127.0.0.1:5000
  mirrors    docker.io (as robot, helper pass, default)
             ghcr.io (anonymous)
  cache      /var/lib/wharfinger, up to 50GiB
  admin      http://127.0.0.1:5001/metrics  http://127.0.0.1:5001/healthz  http://127.0.0.1:5001/readyz

Docker: put this into /etc/docker/daemon.json and restart Docker
  { "registry-mirrors": ["http://127.0.0.1:5000"] }

containerd, podman and others: see README.md, and GET /v2/ answers 200 when all is well.
`,
  );
});

test("listening on all addresses, it names the machine, and the daemon that plain HTTP is meant", () => {
  for (const host of ["0.0.0.0", "::"]) {
    const text = summaryText({ ...facts, registry: { host, port: 5000 } });
    assert.match(text, /serves http:\/\/box:5000\n/);
    assert.match(text, /\{ "registry-mirrors": \["http:\/\/box:5000"\], "insecure-registries": \["box:5000"\] \}/);
  }
  assert.match(summaryText({ ...facts, registry: { host: "2001:db8::1", port: 80 } }), /http:\/\/\[2001:db8::1\]:80/);
});

test("where Docker Hub is not the default, Docker's mirror names it; where it is not served, there is none", () => {
  assert.match(summaryText({ ...facts, defaultUpstream: "ghcr.io" }), /\["http:\/\/127\.0\.0\.1:5000\/docker\.io"\]/);
  const upstreams = [{ name: "ghcr.io", accounts: [] }];
  assert.doesNotMatch(summaryText({ ...facts, defaultUpstream: "ghcr.io", upstreams }), /daemon\.json/);
});

test("a share of the disk and an offline mirror are said", () => {
  const text = summaryText({ ...facts, maxSize: { percent: 80 }, offline: true });
  assert.match(text, /up to 80% of the disk/);
  assert.match(text, /offline +no upstream is contacted/);
});

test("over TLS, every address of the registry API says so, and the daemon needs no exception", () => {
  const text = summaryText({ ...facts, registry: { host: "0.0.0.0", port: 443 }, tls: true });
  assert.match(text, /serves https:\/\/box:443\n/);
  assert.match(text, /\{ "registry-mirrors": \["https:\/\/box:443"\] \}/);
  assert.match(text, /admin +http:\/\//);
});
