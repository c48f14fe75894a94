/**
 * What an endpoint says that is asked in the place of another: bytes are bytes, a no is not believed.
 */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import type { Network } from "../../../src/upstream/network/network.ts";
import { app, ask, basic, latest, never, play } from "../scene.ts";

const body = (response: ServerResponse) =>
  response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end("{}");

for (const [how, status] of [
  ["does not have it", 404],
  ["denies it", 401],
] as const) {
  test(`that a later endpoint ${how} says nothing while the first fails`, async (t) => {
    const first = await play(t, (request) => void request.socket.destroy());
    const second = await play(t, (_, response) => void response.writeHead(status).end());
    const { upstream } = ask(t, first.url, { endpoints: [second.url] });
    for (let time = 0; time < 5; time++) {
      await assert.rejects(upstream.headManifest(app, latest, never, "refresh"), { kind: "unreachable" });
    }
    assert.ok(second.requests.length > 0);
  });
}

test("the first endpoint's own absence is one", async (t) => {
  const first = await play(t, (_, response) => void response.writeHead(404).end());
  const second = await play(t, (_, response) => void body(response));
  const { upstream } = ask(t, first.url, { endpoints: [second.url] });
  assert.deepEqual(await upstream.headManifest(app, latest, never), { absent: "unknown" });
});

test("an endpoint that fails for a moment is asked again where the next does not have it", async (t) => {
  let asked = 0;
  const first = await play(t, (request, response) => {
    asked += 1;
    if (asked === 1) request.socket.destroy();
    else body(response);
  });
  const second = await play(t, (_, response) => void response.writeHead(404).end());
  const { upstream } = ask(t, first.url, { endpoints: [second.url] });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
});

test("where the first endpoint is limited the next is asked at once, and counts for itself", async (t) => {
  const used = { "ratelimit-limit": "1;w=21600", "ratelimit-remaining": "0;w=21600" };
  const first = await play(t, (_, response) => void response.writeHead(429, { ...used, "retry-after": "600" }).end());
  const second = await play(t, (_, response, path) => {
    if (path.endsWith("/latest")) body(response);
    else response.writeHead(404).end();
  });
  const { upstream } = ask(t, first.url, { endpoints: [second.url] });
  for (let time = 0; time < 3; time++) assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.equal(first.requests.length, 1);
  assert.equal(second.requests.length, 3);
});

test("credentials are shown at endpoints of the same site only, and that is said", async (t) => {
  const first = await play(t, (request) => void request.socket.destroy());
  const second = await play(t, (request, response) => {
    if (request.headers.authorization === undefined) body(response);
    else response.writeHead(401).end();
  });
  const elsewhere = second.url.replace("127.0.0.1", "mirror.elsewhere.example");
  const network: Network = {
    resolve: (_host, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }]),
  };
  const credentials = [{ username: "u", password: "pw" }];
  const { upstream, said } = ask(t, first.url, { endpoints: [elsewhere], credentials }, network);
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.deepEqual(new Set(second.requests.map(({ headers }) => headers.authorization)), new Set([undefined]));
  const lines = said.filter(({ kind }) => kind === "upstreamTrouble");
  assert.match(JSON.stringify(lines), /no credentials are shown at mirror\.elsewhere\.example/);

  const third = await play(t, (request, response) => {
    if (request.headers.authorization === basic("u", "pw")) body(response);
    else response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
  });
  const same = ask(t, first.url, { endpoints: [third.url], credentials });
  assert.ok("bytes" in (await same.upstream.getManifest(app, latest, never)));
});
