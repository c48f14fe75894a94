/** The admin API of a running mirror, over HTTP: what it describes, whom it refuses, and how it ends. */
import assert from "node:assert/strict";
import test from "node:test";
import { get, sendRaw } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TEST_WORKERS, TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { pull } from "./holdings-stage.ts";

const UPSTREAMS = { "docker.io": "http://192.0.2.1:1" };

function bodyOf(answer: { readonly body: Buffer }) {
  return JSON.parse(answer.body.toString());
}

test("status tells what runs and how full it is", async () => {
  await using mirror = await TestMirror.start({ upstreams: UPSTREAMS, config: { cache: { maxSize: "1GiB" } } });
  const answer = await get(`${mirror.adminUrl}/api/v1/status`);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "application/json");
  assert.equal(answer.headers["cache-control"], "no-store");
  assert.equal(answer.headers["access-control-allow-origin"], undefined);
  const status = bodyOf(answer);
  assert.equal(status.product, "wharfinger");
  assert.equal(status.ready, true);
  assert.equal(status.workers, TEST_WORKERS);
  assert.equal(status.cache.dir, mirror.dir);
  assert.equal(status.cache.maxBytes, 2 ** 30);
  assert.equal(status.cache.blobs, 0);
  const head = await get(`${mirror.adminUrl}/api/v1/status`, { method: "HEAD" });
  assert.equal(head.status, 200);
  assert.equal(head.body.length, 0);
});

test("status tells what each upstream has of the cache, and may have", async () => {
  await using upstream = await TestUpstream.start();
  const image = makeImage({ seed: 1, layers: [5000] });
  upstream.shelves.add("library/app", image, "1");
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": upstream, "ghcr.io": "http://192.0.2.1:1" },
    each: { "docker.io": { maxSize: "1MiB" } },
  });
  await pull(mirror, "library/app", image, "1");
  const { cache } = bodyOf(await get(`${mirror.adminUrl}/api/v1/status`));
  assert.deepEqual(cache.upstreams, [
    { upstream: "docker.io", blobs: 3, sizeBytes: cache.sizeBytes, maxBytes: 2 ** 20 },
    { upstream: "ghcr.io", blobs: 0, sizeBytes: 0, maxBytes: null },
  ]);
  assert.equal("shares" in cache, false);
});

test("the OpenAPI document is whole, and lists exactly what can be asked", async () => {
  await using mirror = await TestMirror.start({ upstreams: UPSTREAMS });
  const document = bodyOf(await get(`${mirror.adminUrl}/api/v1/openapi.json`));
  assert.equal(document.openapi, "3.1.0");
  assert.equal(typeof document.info.title, "string");
  const listed = Object.entries(document.paths as Record<string, object>).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
  );
  const known = mirror.mirror.api.operations.map(({ method, path }) => `${method} ${path}`);
  assert.deepEqual(listed.sort(), known.sort());
  const ids = new Set<string>();
  for (const [path, methods] of Object.entries(document.paths as Record<string, Record<string, never>>)) {
    assert.match(path, /^\/api\/v1\/[a-z./-]+$/);
    for (const [method, operation] of Object.entries(methods)) judgeOperation(method, operation, ids);
  }
  for (const reference of JSON.stringify(document).matchAll(/"\$ref":"#([^"]+)"/g)) {
    const found = (reference[1] ?? "")
      .split("/")
      .slice(1)
      .reduce((at, step) => at?.[step], document);
    assert.ok(found !== undefined, `${reference[1]} leads nowhere`);
  }
});

interface Described {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters?: readonly { name: string; in: string; schema: object }[];
  readonly requestBody?: { content: Record<string, { schema: object }> };
  readonly responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
}

/** As the specification has it: what must be there is there (OpenAPI 3.1, Operation Object). */
function judgeOperation(method: string, operation: Described, ids: Set<string>): void {
  assert.match(operation.operationId, /^[a-z][A-Za-z0-9]+$/);
  assert.ok(!ids.has(operation.operationId), `two operations are ${operation.operationId}`);
  ids.add(operation.operationId);
  assert.match(operation.summary, /^[A-Z].{5,200}$/, operation.operationId);
  for (const parameter of operation.parameters ?? []) {
    assert.equal(parameter.in, "query");
    assert.equal(typeof parameter.schema, "object");
  }
  if (method === "post" || method === "put") assert.ok(operation.requestBody !== undefined, operation.operationId);
  for (const status of ["200", "400", "404", "500", "503"]) {
    const response = operation.responses[status];
    assert.ok(response !== undefined && response.description !== "", `${operation.operationId} ${status}`);
    for (const { schema } of Object.values(response.content ?? {})) assert.equal(typeof schema, "object");
  }
}

test("a name that was made to resolve to this machine leads nowhere", async () => {
  await using mirror = await TestMirror.start({ upstreams: UPSTREAMS });
  const { port } = new URL(mirror.adminUrl);
  const hosts = { "127.0.0.1": 200, [`127.0.0.1:${port}`]: 200, "localhost:5001": 200, "[::1]:5001": 200 };
  const foreign = { "evil.example": 421, [`evil.example:${port}`]: 421, "localhost.evil.example": 421, "[evil]": 421 };
  for (const [host, status] of Object.entries({ ...hosts, ...foreign })) {
    const answer = await get(`${mirror.adminUrl}/api/v1/status`, { headers: { host } });
    assert.equal(answer.status, status, host);
  }
  assert.equal((await get(`${mirror.adminUrl}/healthz`, { headers: { host: "probe.example" } })).status, 200);
});

test("names in admin.hosts are answered to, with whatever port", async () => {
  const admin = { hosts: ["Mirror.infra.svc"] };
  await using mirror = await TestMirror.start({ upstreams: UPSTREAMS, config: { admin } });
  for (const [host, status] of Object.entries({ "mirror.INFRA.svc:5001": 200, "infra.svc": 421 })) {
    assert.equal((await get(`${mirror.adminUrl}/api/v1/status`, { headers: { host } })).status, status, host);
  }
});

test("a page of another site changes nothing, whatever it sends", async () => {
  await using mirror = await TestMirror.start({ upstreams: UPSTREAMS });
  const url = `${mirror.adminUrl}/api/v1/status`;
  const json = { "content-type": "application/json" };
  for (const method of ["POST", "PUT", "DELETE", "PATCH"]) {
    for (const more of [
      { origin: "https://evil.example" },
      { origin: "null" },
      { origin: "http://127.0.0.1:1" },
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
    ]) {
      const answer = await get(url, { method, headers: { ...json, ...more } });
      assert.equal(answer.status, 403, `${method} ${JSON.stringify(more)}`);
      assert.equal(bodyOf(answer).error.kind, "denied");
    }
    const own = await get(url, { method, headers: { ...json, origin: mirror.adminUrl } });
    assert.equal(own.status, 405, "a page of its own may ask");
  }
  const preflight = await get(url, { method: "OPTIONS", headers: { origin: "https://evil.example" } });
  assert.equal(preflight.status, 204);
  assert.deepEqual(
    Object.keys(preflight.headers).filter((name) => name.startsWith("access-control")),
    [],
  );
});

test("what is no operation is 404, also where it looks like a file", async () => {
  await using mirror = await TestMirror.start({ upstreams: UPSTREAMS });
  for (const path of [
    "/api/",
    "/api/v1/",
    "/api/v2/status",
    "/api/v1/../../etc/passwd",
    "/api/v1/status/",
    "/api/v1/%00",
  ]) {
    const answer = await get(mirror.adminUrl, { rawPath: path });
    assert.equal(answer.status, 404, path);
  }
  assert.match(await sendRaw(mirror.adminUrl, "GET //api/v1/status HTTP/1.1\r\nHost: x\r\n\r\n"), /^HTTP\/1.1 404/);
});

test("a mirror with open questions stops at once and leaves nothing behind", async () => {
  const baseline = openResources();
  {
    await using mirror = await TestMirror.start({ upstreams: UPSTREAMS });
    const { hostname, port } = new URL(mirror.adminUrl);
    const head = `POST /api/v1/status HTTP/1.1\r\nHost: ${hostname}:${port}\r\nContent-Type: application/json\r\n`;
    const unfinished = sendRaw(mirror.adminUrl, `${head}Content-Length: 1000\r\n\r\n{`, 5_000);
    await mirror.mirror.stop();
    await unfinished;
  }
  assert.deepEqual(await residueSince(baseline), []);
});
