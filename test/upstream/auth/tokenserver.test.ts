/**
 * Token servers: the two ways to ask them, and how they fail. What an operator sees of it is one line each.
 */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { type TestContext, test } from "node:test";
import { isFailure } from "../../../src/base/failure.ts";
import type { CredentialSource } from "../../../src/upstream/credentials/credential.ts";
import { type Asked, app, ask, basic, latest, never, play } from "../scene.ts";

const identity = (token: string): CredentialSource => ({
  account: "azure",
  hold: async () => ({ kind: "identity", token }),
  refused: () => {},
});

type Answering = (response: ServerResponse, request: IncomingMessage, form: URLSearchParams) => void;

async function open(t: TestContext, answer: Answering, realmOf = (url: string) => `${url}/token`) {
  const forms: URLSearchParams[] = [];
  const tokens = await play(t, async (request, response) => {
    const form = new URLSearchParams(await text(request));
    forms.push(form);
    answer(response, request, form);
  });
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === "Bearer good") return response.end("{}");
    const challenge = `Bearer realm="${realmOf(tokens.url)}",service="s",scope="repository:team/app:pull"`;
    response.writeHead(401, { "www-authenticate": challenge }).end("{}");
  });
  const asked = () => tokens.requests.map(({ line }) => line.replace(/\?.*/, ""));
  return { tokens, registry, forms, asked };
}

const troublesOf = (said: readonly { kind: string; fact: unknown }[]) =>
  said.flatMap(({ kind, fact }) =>
    kind === "upstreamTrouble" && typeof fact === "object" && fact !== null && "message" in fact
      ? [String(fact.message)]
      : [],
  );

test("an identity token is exchanged by POST, and is in no text", async (t) => {
  const { registry, forms, asked, tokens } = await open(t, (response, _request, form) => {
    if (form.get("refresh_token") === "i.d.entity") response.end('{"access_token":"good"}');
    else response.writeHead(400).end(`{"error":"invalid_grant","said":"${form.get("refresh_token")}"}`);
  });
  const { upstream } = ask(t, registry.url, { credentials: [identity("i.d.entity")] });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.deepEqual(asked(), ["POST /token"]);
  assert.deepEqual(Object.fromEntries(forms[0] ?? []), {
    grant_type: "refresh_token",
    refresh_token: "i.d.entity",
    client_id: "wharfinger",
    service: "s",
    scope: "repository:team/app:pull",
  });
  assert.equal(tokens.requests[0]?.headers.authorization, undefined);

  const wrong = ask(t, registry.url, { credentials: [identity("i.d.wrong")] });
  await assert.rejects(wrong.upstream.getManifest(app, latest, never), (error) => {
    assert.ok(isFailure(error, "refused"));
    assert.doesNotMatch(error.message + JSON.stringify(error.detail) + JSON.stringify(wrong.said), /i\.d\.wrong/);
    return true;
  });
  assert.equal(asked().length, 2);
});

test("a token server without POST is asked by GET for an identity token", async (t) => {
  for (const status of [400, 401, 404, 405]) {
    const { registry, asked, tokens } = await open(t, (response, request) => {
      if (request.method === "GET") response.end('{"token":"good"}');
      else response.writeHead(status).end();
    });
    const { upstream } = ask(t, registry.url, { credentials: [identity("entity")] });
    assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
    assert.deepEqual(asked(), ["POST /token", "GET /token"]);
    assert.equal(tokens.requests[1]?.headers.authorization, basic("00000000-0000-0000-0000-000000000000", "entity"));
  }
});

test("a token server without GET is given the password by POST, and by POST alone the next time", async (t) => {
  const { registry, forms, asked } = await open(t, (response, request, form) => {
    if (request.method === "GET") response.writeHead(405).end();
    else if (form.get("password") === "hunter2") response.end('{"token":"stale"}');
    else response.writeHead(401).end();
  });
  const { upstream } = ask(t, registry.url, { credentials: [{ username: "robot", password: "hunter2" }] });
  assert.deepEqual(await upstream.getManifest(app, latest, never), { absent: "denied" });
  assert.deepEqual(await upstream.getManifest(app, latest, never), { absent: "denied" });
  assert.deepEqual(asked(), ["GET /token", "POST /token", "POST /token"]);
  assert.equal(forms[1]?.get("grant_type"), "password");
  assert.equal(forms[1]?.get("username"), "robot");
});

test("a form follows a redirect that keeps the method to where it may go, and no other", async (t) => {
  const thief = await play(t, (_request, response) => response.end('{"token":"good"}'));
  const targets = {
    same: { status: 307, location: "/elsewhere" },
    turned: { status: 302, location: "/elsewhere" },
    foreign: { status: 307, location: `${thief.url.replace("127.0.0.1", "localhost")}/` },
  };
  for (const [kind, { status, location }] of Object.entries(targets)) {
    const { registry, forms } = await open(t, (response, request) => {
      if (request.url === "/elsewhere") response.end('{"token":"good"}');
      else response.writeHead(status, { location }).end();
    });
    const { upstream, said } = ask(t, registry.url, { credentials: [identity("entity")] });
    if (kind === "same") {
      assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
      assert.equal(forms[1]?.get("refresh_token"), "entity");
      continue;
    }
    await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error));
    for (const form of forms.slice(1)) assert.equal(form.get("refresh_token"), null);
    if (kind === "foreign") assert.match(String(troublesOf(said)), /redirect of its token server .* is not followed/);
  }
  assert.equal(thief.requests.length, 0);
});

const FAULTS: Record<string, { answer: Answering; line: RegExp; options?: Asked }> = {
  "with a web page": {
    answer: (response) => response.setHeader("content-type", "text/html").end("<html>sign in</html>"),
    line: /^reg\.test: no token from 127\.0\.0\.1:\d+ as robot: .* not JSON$/,
  },
  "200 without a token": { answer: (response) => response.end('{"error":"x"}'), line: /as robot: .* holds no token$/ },
  "with a token that no header can hold": {
    answer: (response) => response.end(JSON.stringify({ token: "a\r\nx: y" })),
    line: /as robot: .* holds no token$/,
  },
  "with 500": { answer: (response) => response.writeHead(500).end("oops"), line: /as robot: .* answered 500/ },
  "too slowly": {
    answer: (response) => response.writeHead(200).write('{"token":'),
    line: /as robot: .*did not answer in time$/,
    options: { timeouts: { headersMs: 300 } },
  },
  never: {
    answer: () => {},
    line: /as robot: .*did not answer in time$/,
    options: { timeouts: { headersMs: 300 } },
  },
  "with two megabytes": { answer: (response) => response.end("x".repeat(2_000_000)), line: /as robot: / },
};

for (const [how, { answer, line, options = {} }] of Object.entries(FAULTS)) {
  test(`a token server that answers ${how} is out of reach, and one line says so`, async (t) => {
    const { registry } = await open(t, answer);
    const credentials = [{ username: "robot", password: "hunter2" }];
    const { upstream, said } = ask(t, registry.url, { credentials, ...options });
    await assert.rejects(upstream.getManifest(app, latest, never), (error) =>
      isFailure(error, "unreachable", "corrupt"),
    );
    // Two time limits of the same length: the caller's may be up first.
    for (let at = 0; at < 100 && troublesOf(said).length === 0; at++) await new Promise((go) => setTimeout(go, 20));
    assert.equal(troublesOf(said).length, 1, JSON.stringify(said));
    assert.match(String(troublesOf(said)[0]), line);
    assert.doesNotMatch(JSON.stringify(said), /hunter2/);
  });
}

const REALMS = {
  "on another host": (url: string) => `${url.replace("127.0.0.1", "localhost")}/token`,
  "on a metadata address": () => "http://169.254.169.254/latest/meta-data/token",
  "on another address": () => "http://127.0.0.2:1/token",
  "with a user name": (url: string) => url.replace("http://", "http://robot@"),
  "that is no URL": () => "token",
  "of another scheme": () => "ftp://127.0.0.1/token",
};

for (const [where, realmOf] of Object.entries(REALMS)) {
  test(`a realm ${where} gets neither request nor password, and one line says whose and why`, async (t) => {
    const { registry, tokens } = await open(t, (response) => response.end('{"token":"good"}'), realmOf);
    const { upstream, said } = ask(t, registry.url, { credentials: [{ username: "robot", password: "hunter2" }] });
    for (let at = 0; at < 3; at++) {
      await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error, "refused"));
    }
    assert.equal(tokens.requests.length, 0);
    for (const { headers } of registry.requests) assert.equal(headers.authorization, undefined);
    assert.equal(troublesOf(said).length, 1, String(troublesOf(said)));
    assert.match(String(troublesOf(said)), /^reg\.test: no token is asked for (?:of \S+ )?as robot: its realm /);
  });
}

test("a metadata address gets no anonymous request either", async (t) => {
  const { registry } = await open(t, () => {}, REALMS["on a metadata address"]);
  const { upstream, said } = ask(t, registry.url);
  await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error, "unreachable"));
  assert.match(String(troublesOf(said)), /169\.254\.169\.254/);
});
