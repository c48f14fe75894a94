/**
 * Several accounts of one upstream: whoever asks is answered as long as one of them is good.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { parseReference } from "../../../src/oci/reference.ts";
import type { CredentialSource } from "../../../src/upstream/credentials/credential.ts";
import { app, ask, basic, latest, never, play, sourceOf } from "../scene.ts";

const good = { username: "good", password: "pw" };
const bad = { username: "bad", password: "x" };

/** Knows `good`; `bad` is answered as the test says. */
const registry = (t: Parameters<typeof play>[0], status: number, headers: Record<string, string> = {}) =>
  play(t, (request, response) => {
    const { authorization } = request.headers;
    if (authorization === basic("good", "pw")) {
      response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end("{}");
    } else if (authorization === undefined) response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    else response.writeHead(status, { "www-authenticate": 'Basic realm="x"', ...headers }).end();
  });

const shown = (
  requests: readonly { readonly headers: { readonly authorization?: string | undefined } }[],
  name: string,
) => requests.filter(({ headers }) => headers.authorization?.startsWith(basic(name, "").slice(0, 9))).length;

test("a question whose account is refused goes on as the next one", async (t) => {
  const { url, requests } = await registry(t, 401);
  const { upstream } = ask(t, url, { credentials: [bad, good] });
  for (let time = 0; time < 3; time++) assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.equal(shown(requests, "bad"), 1);
});

test("a question whose account is limited goes on as the next one", async (t) => {
  const { url, requests } = await registry(t, 429, { "retry-after": "3600" });
  const { upstream } = ask(t, url, { credentials: [bad, good] });
  for (let time = 0; time < 3; time++) assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.equal(shown(requests, "bad"), 1);
});

test("an account that has nothing to show is passed over, and not asked again for each question", async (t) => {
  const { url } = await registry(t, 401);
  let asked = 0;
  const broken: CredentialSource = {
    account: "helper",
    hold: async () => {
      asked += 1;
      throw new Failure("invalid", "the helper is missing");
    },
    refused: () => {},
  };
  const { upstream } = ask(t, url, { credentials: [broken, good] });
  for (let time = 0; time < 3; time++) assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.equal(asked, 1);
});

test("where the accounts of a repository are refused those for everything are shown, and an absence is not theirs to tell", async (t) => {
  const { url } = await play(t, (request, response, path) => {
    const { authorization } = request.headers;
    if (authorization !== basic("good", "pw")) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else if (path.endsWith("/latest")) {
      response.writeHead(200, { "content-type": "application/vnd.oci.image.manifest.v1+json" }).end("{}");
    } else response.writeHead(404).end();
  });
  const mapped = { source: sourceOf(bad), repositories: ["team/**"] };
  const all = { source: sourceOf(good), repositories: ["**"] };
  const { upstream } = ask(t, url, { accounts: [mapped, all] });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  await assert.rejects(upstream.getManifest(app, parseReference("other"), never), { kind: "refused" });
});

test("accounts of one kind are told apart where they are refused", async (t) => {
  const { url } = await registry(t, 401);
  const { upstream, said } = ask(t, url, { credentials: [{ token: "one" }, { token: "two" }] });
  await assert.rejects(upstream.headManifest(app, latest, never), { kind: "refused" });
  const lines = JSON.stringify(said.filter(({ kind }) => kind === "upstreamTrouble"));
  assert.match(lines, /account token is refused/);
  assert.match(lines, /account token#2 is refused/);
});

test("what is left counts without the accounts that are refused", async (t) => {
  const { url } = await play(t, (request, response) => {
    const isGood = request.headers.authorization === basic("good", "pw");
    const limits = { "ratelimit-limit": "10;w=3600", "ratelimit-remaining": "7;w=3600" };
    response.writeHead(isGood ? 200 : 401, { "www-authenticate": 'Basic realm="x"', ...limits }).end("{}");
  });
  const { upstream } = ask(t, url, { credentials: [bad, good] });
  await upstream.getManifest(app, latest, never);
  const { limit, remaining } = upstream.budget(app) ?? {};
  assert.deepEqual({ limit, remaining }, { limit: 10, remaining: 7 });
});
