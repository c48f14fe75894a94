/**
 * Credentials that are wrong, have expired, are renewed: what an upstream is shown of them, how often, and what an
 * operator sees.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { Failure, isFailure } from "../../../src/base/failure.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import type { CredentialSource, Held } from "../../../src/upstream/credentials/credential.ts";
import { app, ask, basic, latest, never, play } from "../scene.ts";

const other = parseRepository("team/other");
const isRefused = (error: unknown) => isFailure(error, "refused");

/** A source whose password the test changes; `next` is what it finds once the present one was refused. */
function changing(first: string) {
  const state = { password: first, next: undefined as string | undefined, refused: [] as Held[] };
  const source: CredentialSource = {
    account: "robot",
    hold: async () => ({ kind: "basic", username: "robot", password: state.password }),
    refused: (held) => {
      state.refused.push(held);
      if (state.next !== undefined) state.password = state.next;
    },
  };
  return { state, source };
}

/** A registry that takes passwords itself. */
async function takesPasswords(
  t: TestContext,
  refuse: (said: string | undefined) => [number, string] = () => [401, ""],
) {
  const desk = { password: "right" };
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === basic("robot", desk.password)) return response.end("{}");
    const [status, body] = request.headers.authorization === undefined ? [401, ""] : refuse(undefined);
    response.writeHead(status, { "www-authenticate": 'Basic realm="x"' }).end(body);
  });
  const shown = () => registry.requests.filter(({ headers }) => headers.authorization !== undefined).length;
  return { desk, registry, shown };
}

/** A registry with a token server that takes passwords. */
async function givesTokens(t: TestContext) {
  const desk = { password: "right", status: 401 };
  const tokens = await play(t, (request, response) => {
    if (request.headers.authorization === basic("robot", desk.password)) response.end('{"token":"good"}');
    else response.writeHead(desk.status).end();
  });
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === "Bearer good") return response.end("{}");
    response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.url}/token",service="s"` }).end();
  });
  return { desk, registry, tokens };
}

const troublesOf = (said: readonly { kind: string; fact: unknown }[]) =>
  said.flatMap(({ kind, fact }) =>
    kind === "upstreamTrouble" && typeof fact === "object" && fact !== null && "message" in fact ? [fact.message] : [],
  );

test("a wrong password at the registry: one attempt, one line, for twenty clients and again for none", async (t) => {
  const { registry, shown } = await takesPasswords(t);
  const { source, state } = changing("wrong");
  const { upstream, said } = ask(t, registry.url, { credentials: [source] });
  const calls = Array.from({ length: 20 }, (_, at) => upstream.headManifest(at % 2 ? app : other, latest, never));
  for (const one of await Promise.allSettled(calls)) assert.ok(one.status === "rejected" && isRefused(one.reason));
  await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
  assert.equal(shown(), 1);
  assert.equal(state.refused.length, 1);
  const host = new URL(registry.url).host;
  assert.deepEqual(troublesOf(said), [
    `reg.test: account robot is refused: ${host}: answered 401; check upstreams.reg.test.credentials`,
  ]);
});

test("a wrong password at the token server: one attempt, one line, whatever is asked for", async (t) => {
  const { registry, tokens } = await givesTokens(t);
  const { source, state } = changing("wrong");
  const { upstream, said } = ask(t, registry.url, { credentials: [source] });
  const calls = Array.from({ length: 20 }, (_, at) => upstream.headManifest(at % 2 ? app : other, latest, never));
  for (const one of await Promise.allSettled(calls)) assert.ok(one.status === "rejected" && isRefused(one.reason));
  await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
  assert.equal(tokens.requests.length, 1);
  assert.equal(state.refused.length, 1);
  const host = new URL(tokens.url).host;
  assert.deepEqual(troublesOf(said), [
    `reg.test: account robot is refused: ${host}: its token server answered 401; check upstreams.reg.test.credentials`,
  ]);
});

test("after the time of a refusal there is one attempt more, and one line", async (t) => {
  const { registry, shown } = await takesPasswords(t);
  const { upstream, said } = ask(t, registry.url, { credentials: [changing("wrong").source], refusedMs: 1 });
  await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
  await new Promise((resolve) => setTimeout(resolve, 5));
  await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
  assert.equal(shown(), 2);
  assert.equal(troublesOf(said).length, 2);
});

test("a password that was changed meanwhile is shown at once, at the registry and at the token server", async (t) => {
  for (const open of [takesPasswords, givesTokens]) {
    const { registry } = await open(t);
    const { source, state } = changing("old");
    state.next = "right";
    const { upstream, said } = ask(t, registry.url, { credentials: [source] });
    const calls = Array.from({ length: 10 }, (_, at) => upstream.headManifest(at % 2 ? app : other, latest, never));
    for (const answer of await Promise.all(calls)) assert.ok("mediaType" in answer);
    assert.equal(state.refused.length, 1);
    assert.deepEqual(troublesOf(said), []);
  }
});

test("a password that was good and has expired is replaced in the middle of work", async (t) => {
  const { desk, registry, shown } = await takesPasswords(t, () => [
    403,
    '{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}',
  ]);
  const { source, state } = changing("right");
  const { upstream, said } = ask(t, registry.url, { credentials: [source] });
  await upstream.headManifest(app, latest, never);
  desk.password = "next";
  state.next = "next";
  assert.ok("mediaType" in (await upstream.headManifest(app, latest, never)));
  assert.equal(shown(), 4, "good; HEAD and GET with the expired one; good again");
  state.next = undefined;
  desk.password = "another";
  await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
  assert.match(String(troublesOf(said)), /account robot is refused: .*answered 403, it has expired/);
});

test("a replacement that is refused as well is the end of it", async (t) => {
  for (const open of [takesPasswords, givesTokens]) {
    const { registry } = await open(t);
    const { source, state } = changing("old");
    state.next = "older";
    const { upstream, said } = ask(t, registry.url, { credentials: [source] });
    await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
    assert.equal(state.refused.length, 2);
    assert.equal(troublesOf(said).length, 1);
  }
});

test("a 403 for one repository says nothing of a password that was just good", async (t) => {
  const registry = await play(t, (request, response, path) => {
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else if (path.includes("/team/other/")) response.writeHead(403, { "content-type": "text/plain" }).end("no");
    else response.end("{}");
  });
  const { source, state } = changing("right");
  const { upstream } = ask(t, registry.url, { credentials: [source] });
  await upstream.headManifest(app, latest, never);
  await assert.rejects(upstream.headManifest(other, latest, never), isRefused);
  assert.ok("mediaType" in (await upstream.headManifest(app, latest, never)));
  assert.equal(state.refused.length, 0);
});

test("a source that has nothing to show is told of once, and the registry is not asked", async (t) => {
  const { registry } = await takesPasswords(t);
  const source: CredentialSource = {
    account: "robot",
    hold: async () => {
      throw new Failure("refused", "the program docker-credential-x is not there");
    },
    refused: () => {},
  };
  const { upstream, said } = ask(t, registry.url, { credentials: [source] });
  for (let at = 0; at < 3; at++) await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
  assert.equal(registry.requests.length, 0);
  assert.deepEqual(troublesOf(said), [
    "reg.test: account robot has no credentials to show: the program docker-credential-x is not there",
  ]);
});

test("a password that is changed after its refusal is shown with the next question, an unchanged one with none", async (t) => {
  for (const open of [takesPasswords, givesTokens]) {
    const { registry, ...more } = await open(t);
    const asked = () => registry.requests.length + ("tokens" in more ? more.tokens.requests.length : 0);
    const { source, state } = changing("old");
    // A second endpoint has not learned what is asked for; it is not asked for that either.
    const { upstream } = ask(t, registry.url, { credentials: [source], endpoints: [`${registry.url}/other`] });
    await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
    const before = asked();
    const calls = Array.from({ length: 10 }, (_, at) => upstream.headManifest(at % 2 ? app : other, latest, never));
    for (const one of await Promise.allSettled(calls)) assert.ok(one.status === "rejected" && isRefused(one.reason));
    assert.equal(asked(), before);
    state.password = "right";
    assert.ok("mediaType" in (await upstream.headManifest(app, latest, never)));
    assert.equal(state.refused.length, 1);
  }
});

test("what a source posts by a signal of its own goes on when the client that began it leaves", async (t) => {
  const began = Promise.withResolvers<void>();
  const left = Promise.withResolvers<void>();
  const registry = await play(t, async (request, response, path) => {
    if (path.startsWith("/oauth2/exchange")) {
      began.resolve();
      await left.promise;
      return response.end("good");
    }
    if (request.headers.authorization === "Bearer good") return response.end("{}");
    return response.writeHead(401, { "www-authenticate": "Bearer" }).end();
  });
  let given: Promise<Held> | undefined;
  const source: CredentialSource = {
    account: "robot",
    hold: ({ endpoint, post }) => {
      const url = new URL("/oauth2/exchange", endpoint);
      given ??= post(url, new URLSearchParams(), never).then((body) => ({ kind: "bearer", token: String(body) }));
      return given;
    },
    refused: () => {},
  };
  const { upstream } = ask(t, registry.url, { credentials: [source] });
  const client = new AbortController();
  const first = assert.rejects(upstream.headManifest(app, latest, client.signal));
  await began.promise;
  const second = upstream.headManifest(app, latest, never);
  client.abort(new Failure("unreachable", "left"));
  await first;
  left.resolve();
  assert.ok("mediaType" in (await second));
  assert.equal(registry.requests.filter(({ line }) => line.includes("exchange")).length, 1);
});

test("a registry that stays away keeps nobody waiting for another's trial", async (t) => {
  let isAway = true;
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else if (isAway) response.writeHead(404).end();
    else response.end("{}");
  });
  const { upstream } = ask(t, registry.url, { credentials: [changing("right").source] });
  assert.deepEqual(await upstream.headManifest(app, latest, never), { absent: "unknown" });
  isAway = false;
  const calls = Array.from({ length: 5 }, () => upstream.headManifest(app, latest, never));
  for (const answer of await Promise.all(calls)) assert.ok("mediaType" in answer);
});

const DENIED = '{"errors":[{"code":"DENIED","message":"denied"}]}';

/** As GitHub's: 403 DENIED to a wrong password, and for what is not there or not the account's. */
async function deniesAlike(t: TestContext, status = 403) {
  const desk = { password: "right", forbidden: "team/forbidden" };
  const tokens = await play(t, (request, response, path) => {
    const scope = new URL(path, "http://x").searchParams.get("scope") ?? "";
    const isKnown = request.headers.authorization === basic("robot", desk.password);
    if (isKnown && !scope.includes(desk.forbidden)) response.end('{"token":"good"}');
    else response.writeHead(status, { "content-type": "application/json" }).end(DENIED);
  });
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === "Bearer good") return response.end("{}");
    response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.url}/token",service="s"` }).end();
  });
  return { desk, tokens, registry };
}

test("403 DENIED to a wrong password is its refusal, found out once, whatever else is asked for", async (t) => {
  const { tokens, registry } = await deniesAlike(t);
  const { source, state } = changing("expired");
  const { upstream, said } = ask(t, registry.url, { credentials: [source] });
  for (const name of [app, other, app]) await assert.rejects(upstream.headManifest(name, latest, never), isRefused);
  assert.deepEqual(
    tokens.requests.map(({ line }) => line.includes("scope=")),
    [true, false],
  );
  assert.equal(state.refused.length, 1);
  assert.equal(troublesOf(said).length, 1);
  assert.match(String(troublesOf(said)), /account robot is refused: .*its token server answered 403/);
});

test("403 DENIED to a good password is of the repository, and told of once", async (t) => {
  const { tokens, registry } = await deniesAlike(t);
  const { source, state } = changing("right");
  const { upstream, said } = ask(t, registry.url, { credentials: [source] });
  for (const name of ["team/forbidden", "team/forbidden/x", "team/forbidden/y"]) {
    assert.deepEqual(await upstream.headManifest(parseRepository(name), latest, never), { absent: "denied" });
  }
  assert.equal(tokens.requests.length, 4, "one for each, one for nothing");
  assert.ok("mediaType" in (await upstream.headManifest(app, latest, never)));
  assert.equal(state.refused.length, 0);
  assert.match(String(troublesOf(said)), /^reg\.test: \S+ gives account robot no token: it answered 403[^,]*$/);
});

test("a token server's 401 for one scope does not refuse an account that was just given a token", async (t) => {
  const { registry } = await deniesAlike(t, 401);
  const { source, state } = changing("right");
  const { upstream } = ask(t, registry.url, { credentials: [source] });
  await upstream.headManifest(app, latest, never);
  const forbidden = parseRepository("team/forbidden");
  assert.deepEqual(await upstream.headManifest(forbidden, latest, never), { absent: "denied" });
  assert.ok("mediaType" in (await upstream.headManifest(other, latest, never)));
  assert.equal(state.refused.length, 0);
});

test("a password that was changed a moment after it was good is refused all the same", async (t) => {
  const { desk, registry } = await deniesAlike(t, 401);
  const { source, state } = changing("right");
  const { upstream } = ask(t, registry.url, { credentials: [source] });
  await upstream.headManifest(app, latest, never);
  desk.password = "changed";
  await assert.rejects(upstream.headManifest(other, latest, never), isRefused);
  assert.equal(state.refused.length, 1);
});

test("a forbidden repository whose name says expired does not refuse the account", async (t) => {
  const message =
    "User: arn:aws:iam::1:user/x is not authorized to perform: ecr:BatchGetImage on resource: team/expired";
  const body = JSON.stringify({ errors: [{ code: "DENIED", message }] });
  const registry = await play(t, (request, response, path) => {
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else if (path.includes("/team/expired/")) response.writeHead(403).end(body);
    else response.end("{}");
  });
  const { source, state } = changing("right");
  const { upstream } = ask(t, registry.url, { credentials: [source] });
  const expired = parseRepository("team/expired");
  assert.deepEqual(await upstream.headManifest(expired, latest, never), { absent: "denied" });
  assert.ok("mediaType" in (await upstream.headManifest(app, latest, never)));
  assert.equal(state.refused.length, 0);
});

test("a 403 without a word, long after the last success, is of the repository where the registry's door is open", async (t) => {
  const desk = { isOpen: true };
  const registry = await play(t, (request, response, path) => {
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
    } else if (path.includes("/team/other/") || !desk.isOpen) response.writeHead(403).end("no");
    else response.end("{}");
  });
  const { source, state } = changing("right");
  const { upstream } = ask(t, registry.url, { credentials: [source], refusedMs: 1 });
  const later = () => new Promise((resolve) => setTimeout(resolve, 5));
  await upstream.headManifest(app, latest, never);
  await later();
  await assert.rejects(upstream.headManifest(other, latest, never), isRefused);
  assert.ok("mediaType" in (await upstream.headManifest(app, latest, never)));
  assert.equal(state.refused.length, 0);
  assert.equal(registry.requests.filter(({ line }) => line === "GET /v2/").length, 1);
  await later();
  desk.isOpen = false;
  await assert.rejects(upstream.headManifest(app, latest, never), isRefused);
  assert.equal(state.refused.length, 1);
});

test("an endpoint that does not know the password does not take the others down", async (t) => {
  const second = await takesPasswords(t);
  second.desk.password = "other";
  let isDown = false;
  const first = await play(t, (request, response) => {
    if (isDown) return response.writeHead(503).end();
    if (request.headers.authorization === basic("robot", "right")) return response.end("{}");
    return response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
  });
  const { upstream } = ask(t, first.url, {
    endpoints: [second.registry.url],
    credentials: [changing("right").source],
  });
  await upstream.headManifest(app, latest, never);
  isDown = true;
  // What another endpoint refuses says nothing of the first one, which is away.
  await assert.rejects(upstream.headManifest(app, latest, never), { kind: "unreachable" });
  isDown = false;
  // As soon as its circuit lets somebody look.
  let head: object = {};
  for (let tries = 0; tries < 100 && !("mediaType" in head); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    head = await upstream.headManifest(app, latest, never).catch(() => ({}));
  }
  assert.ok("mediaType" in head);
});

test("troubles whose host or target is another each time are told once", async (t) => {
  let count = 0;
  const registry = await play(t, (_request, response, path) => {
    count += 1;
    if (path.includes("/tags/")) response.writeHead(302, { location: `ftp://host-${count}.example/` }).end();
    else {
      const challenge = `Bearer realm="https://host-${count}.example/token"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
    }
  });
  const { upstream, said } = ask(t, registry.url, { credentials: [changing("right").source] });
  for (let at = 0; at < 10; at++) {
    await upstream.headManifest(app, latest, never).catch(() => {});
    await upstream.listTags(app, "", never).catch(() => {});
  }
  assert.equal(troublesOf(said).length, 2);
});
