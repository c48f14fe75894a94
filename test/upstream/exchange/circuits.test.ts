/**
 * Whose trouble is whose: what storage, a token server or a helper does is not the registry's, and one repository is not all.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import type { Failure } from "../../../src/base/failure.ts";
import { Notices } from "../../../src/base/notices.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { createUpstream } from "../../../src/upstream/client.ts";
import type { UpstreamNotices } from "../../../src/upstream/notices.ts";
import type { Limits } from "../../../src/upstream/options.ts";
import { isAbsence, type Upstream } from "../../../src/upstream/upstream.ts";
import { ManualClock } from "../../kit/clock.ts";
import { app, ask, digest, latest, never, play } from "../scene.ts";

const ROUNDS = 5;
const circuitsOf = (said: readonly { kind: string }[]) => said.filter(({ kind }) => kind === "upstreamCircuit");

/** An upstream with a clock of its own. */
function askBy(t: TestContext, clock: ManualClock, url: string, limits: Limits): Upstream {
  const options = {
    ...{ url, limits, allowPrivate: true, tls: { insecureSkipVerify: false } },
    ...{ credentials: [], tokenRealm: null, offline: false },
  };
  const upstream = createUpstream("reg.test", options, { notices: new Notices<UpstreamNotices>(), clock });
  t.after(() => upstream.close());
  return upstream;
}

test("storage that fails leaves the registry's circuit closed", async (t) => {
  const storage = await play(t, (_, response) => response.destroy());
  const registry = await play(t, (_, response) => {
    response.writeHead(307, { location: `${storage.url}/bytes` }).end();
  });
  const { upstream, said } = ask(t, registry.url);
  for (let round = 0; round < ROUNDS; round++) {
    await assert.rejects(upstream.openBlob(app, digest, undefined, never, "refresh"), { kind: "unreachable" });
  }
  assert.equal(registry.requests.length, ROUNDS);
  assert.deepEqual(circuitsOf(said), []);
});

test("a token server that fails leaves the registry's circuit closed", async (t) => {
  const registry = await play(t, (request, response, path) => {
    if (path.startsWith("/token")) return void response.writeHead(503).end();
    const challenge = `Bearer realm="http://${request.headers.host}/token",service="reg"`;
    response.writeHead(401, { "www-authenticate": challenge }).end();
  });
  const { upstream, said } = ask(t, registry.url, { refusedMs: 1 });
  for (let round = 0; round < ROUNDS; round++) {
    const repository = parseRepository(`team/app${round}`);
    await assert.rejects(upstream.headManifest(repository, latest, never, "refresh"), { kind: "unreachable" });
  }
  assert.deepEqual(circuitsOf(said), []);
});

test("a helper that hangs leaves the registry's circuit closed", async (t) => {
  const registry = await play(t, (_, response) => void response.end());
  const source = { account: "helper", hold: () => new Promise<undefined>(() => {}), refused: () => {} };
  const { upstream, said } = ask(t, registry.url, { credentials: [source], timeouts: { headersMs: 50 } });
  await Promise.all(
    Array.from({ length: ROUNDS }, () =>
      assert.rejects(upstream.headManifest(app, latest, never, "refresh"), { kind: "unreachable" }),
    ),
  );
  assert.equal(registry.requests.length, 0);
  assert.deepEqual(circuitsOf(said), []);
});

test("a repository that is answered 503 is not asked for a while, and others are", async (t) => {
  const registry = await play(t, (_, response, path) => {
    response.writeHead(path.includes("/bad/") ? 503 : 404).end();
  });
  const { upstream, said } = ask(t, registry.url);
  const bad = parseRepository("team/bad");
  for (let round = 0; round < ROUNDS; round++) {
    await assert.rejects(upstream.headManifest(bad, latest, never, "refresh"), { kind: "unreachable" });
  }
  assert.equal(registry.requests.length, 3);
  assert.deepEqual(await upstream.headManifest(app, latest, never, "refresh"), { absent: "unknown" });
  assert.deepEqual(circuitsOf(said), []);
});

test("whoever waited for our own rate meanwhile does not ask an upstream that died", async (t) => {
  const registry = await play(t, (request) => void request.socket.destroy());
  const clock = new ManualClock();
  const upstream = askBy(t, clock, registry.url, { connections: 64, requestsPerSecond: 2 });
  const questions = Array.from({ length: 24 }, (_, at) =>
    assert.rejects(upstream.headManifest(parseRepository(`team/app${at}`), latest, never)),
  );
  await clock.during(Promise.all(questions));
  assert.ok(registry.requests.length < 15, `${registry.requests.length} requests of 24 questions`);
});

test("a blob waits for a connection no longer than a client does", async (t) => {
  const registry = await play(
    t,
    (_, response) => void response.writeHead(200, { "content-length": "10" }).write("12345"),
  );
  const clock = new ManualClock();
  const upstream = askBy(t, clock, registry.url, { connections: 1 });
  const first = await upstream.openBlob(app, digest, undefined, never);
  assert.ok(!isAbsence(first));
  const second = assert.rejects(upstream.openBlob(app, digest, undefined, never), (error: Failure) => {
    assert.equal(error.kind, "overloaded");
    assert.match(error.message, /limits\.connections/);
    assert.ok(error.retryAfterMs !== undefined);
    return true;
  });
  await clock.advance(20_000);
  await second;
  first.body.destroy();
});
