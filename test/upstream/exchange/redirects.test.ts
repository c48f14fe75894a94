/**
 * Redirects that are not followed: no request is made, and one line says where from and why.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../../src/base/failure.ts";
import { app, ask, latest, never, play } from "../scene.ts";

const REFUSED: Record<string, { location: (asked: string) => string; line: RegExp }> = {
  "in a loop": { location: (asked) => asked, line: /^reg\.test: a redirect loop is not followed$/ },
  "for an eleventh time": {
    location: (asked) => `/hop/${Number(/^\/hop\/(\d+)/.exec(asked)?.[1] ?? 0) + 1}`,
    line: /^reg\.test: more than 10 redirects is not followed$/,
  },
  "to another scheme": {
    location: () => "ftp://127.0.0.1/x?secret=1",
    line: /^reg\.test: a redirect to ftp:\/\/, where only https:\/\/ is accepted is not followed$/,
  },
  "with a user name": { location: () => "http://a:b@127.0.0.1/", line: /user name in its Location is not followed$/ },
};

for (const [how, { location, line }] of Object.entries(REFUSED)) {
  test(`a redirect ${how} is not followed, and one line says so`, async (t) => {
    const registry = await play(t, (_request, response, path) => {
      response.writeHead(307, { location: location(path) }).end();
    });
    const { upstream, said } = ask(t, registry.url);
    await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error, "unreachable"));
    const troubles = said.flatMap(({ kind, fact }) => (kind === "upstreamTrouble" ? [JSON.stringify(fact)] : []));
    const messages = troubles.map((text): unknown => JSON.parse(text).message);
    assert.equal(messages.length, 1);
    assert.match(String(messages[0]), line);
    assert.doesNotMatch(troubles.join(), /secret/);
    assert.ok(registry.requests.length <= 11);
  });
}

test("a redirect to a metadata address gets no request, whatever is allowed", async (t) => {
  const registry = await play(t, (_request, response) => {
    response.writeHead(307, { location: "http://169.254.169.254/latest/meta-data/" }).end();
  });
  const { upstream } = ask(t, registry.url);
  await assert.rejects(upstream.getManifest(app, latest, never), /169\.254\.169\.254/);
});

test("a manifest's HEAD that is refused behind a redirect is asked by GET, of which no body is read", async (t) => {
  for (const status of [403, 405]) {
    const storage = await play(t, (request, response) => {
      if (request.method === "HEAD") response.writeHead(status).end();
      else response.writeHead(200, { "content-length": 1_000_000_000 }).write("{");
    });
    const registry = await play(t, (_request, response, path) => {
      response.writeHead(307, { location: storage.url + path }).end();
    });
    const { upstream } = ask(t, registry.url);
    const head = await upstream.headManifest(app, latest, never);
    assert.ok("sizeBytes" in head);
    assert.equal(head.sizeBytes, 1_000_000_000);
    assert.deepEqual(
      storage.requests.map(({ line }) => line.slice(0, 4)),
      ["HEAD", "GET "],
    );
  }
});
