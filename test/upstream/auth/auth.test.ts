/**
 * The client and authorization: the token dance, passwords, and where neither goes.
 */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { isFailure } from "../../../src/base/failure.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { app, ask, basic, latest, never, play } from "../scene.ts";

const credentials = [{ username: "robot", password: "hunter2" }];

/** A registry that wants a token of its token server; the token names the scope. */
async function bearer(t: TestContext, answerToken?: (response: ServerResponse, request: IncomingMessage) => void) {
  const tokens = await play(t, (request, response, path) => {
    if (answerToken !== undefined) return answerToken(response, request);
    const scope = new URL(path, "http://x").searchParams.get("scope");
    setTimeout(() => response.end(JSON.stringify({ access_token: `for-${scope}` })), 20);
  });
  const registry = await play(t, (request, response, path) => {
    const repository = /^\/v2\/(.+)\/manifests\//.exec(path)?.[1];
    if (request.headers.authorization === `Bearer for-repository:${repository}:pull`) return response.end("{}");
    const challenge = `Bearer realm="${tokens.url}/token",service="s",scope="repository:${repository}:pull"`;
    response.writeHead(401, { "www-authenticate": challenge }).end("{}");
  });
  return { tokens, registry };
}

test("twenty calls to one repository ask for one token, and the next call for none", async (t) => {
  const { tokens, registry } = await bearer(t);
  const { upstream } = ask(t, registry.url);
  const calls = Array.from({ length: 20 }, () => upstream.getManifest(app, latest, never));
  for (const answer of await Promise.all(calls)) assert.ok("bytes" in answer);
  assert.equal(tokens.requests.length, 1);
  assert.equal(tokens.requests[0]?.line, "GET /token?service=s&scope=repository%3Ateam%2Fapp%3Apull");
  assert.equal(tokens.requests[0]?.headers.authorization, undefined);
  const before = registry.requests.length;
  await upstream.headManifest(app, latest, never);
  assert.equal(registry.requests.length, before + 1);
  assert.equal(tokens.requests.length, 1);
});

test("a second repository's token is obtained before it is asked for", async (t) => {
  const { tokens, registry } = await bearer(t);
  const { upstream } = ask(t, registry.url);
  await upstream.getManifest(app, latest, never);
  const before = registry.requests.length;
  assert.ok("bytes" in (await upstream.getManifest(parseRepository("other/thing"), latest, never)));
  assert.equal(registry.requests.length, before + 1);
  assert.match(tokens.requests[1]?.line ?? "", /scope=repository%3Aother%2Fthing%3Apull$/);
});

test("a token that is granted and refused means denied, without a second try", async (t) => {
  const { tokens, registry } = await bearer(t, (response) => response.end('{"token":"weak"}'));
  const { upstream } = ask(t, registry.url, { credentials });
  assert.deepEqual(await upstream.getManifest(app, latest, never), { absent: "denied" });
  assert.equal(tokens.requests.length, 1);
  assert.equal(registry.requests.length, 2);
  assert.equal(tokens.requests[0]?.headers.authorization, basic("robot", "hunter2"));
});

test("a token server's refusal is denied to nobody, refused to a password", async (t) => {
  const { registry } = await bearer(t, (response) => response.writeHead(401).end());
  assert.deepEqual(await ask(t, registry.url).upstream.headManifest(app, latest, never), { absent: "denied" });
  const { upstream } = ask(t, registry.url, { credentials });
  await assert.rejects(upstream.headManifest(app, latest, never), (error) => {
    assert.ok(isFailure(error, "refused"));
    assert.doesNotMatch(`${error.message}${JSON.stringify(error.detail)}`, /hunter2|scope=/);
    return true;
  });
});

test("a token server that answers HTML, nothing or 429 is told apart", async (t) => {
  const html = await bearer(t, (response) => response.end("<html>login</html>"));
  await assert.rejects(ask(t, html.registry.url).upstream.headManifest(app, latest, never), /not JSON/);
  const empty = await bearer(t, (response) => response.end("{}"));
  await assert.rejects(ask(t, empty.registry.url).upstream.headManifest(app, latest, never), /holds no token/);
  const limited = await bearer(t, (response) => response.writeHead(429, { "retry-after": "7" }).end());
  await assert.rejects(
    ask(t, limited.registry.url).upstream.headManifest(app, latest, never),
    (error) => isFailure(error, "limited") && error.retryAfterMs === 7000,
  );
});

test("a password is sent once Basic is asked for, and refused passwords are a failure", async (t) => {
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === basic("robot", "hunter2")) response.end("{}");
    else response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
  });
  const { upstream } = ask(t, registry.url, { credentials });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.equal(registry.requests[0]?.headers.authorization, undefined);
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.equal(registry.requests.length, 3);

  const wrong = ask(t, registry.url, { credentials: [{ username: "robot", password: "old" }] });
  await assert.rejects(wrong.upstream.getManifest(app, latest, never), (error) => isFailure(error, "refused"));
  assert.equal(registry.requests.length, 5);
  const anonymous = ask(t, registry.url);
  assert.deepEqual(await anonymous.upstream.getManifest(app, latest, never), { absent: "denied" });
});

test("a bearer token of ours is sent from the first request on", async (t) => {
  const registry = await play(t, (request, response) => {
    response.writeHead(request.headers.authorization === "Bearer abc" ? 200 : 401).end("{}");
  });
  const { upstream } = ask(t, registry.url, { credentials: [{ token: "abc" }] });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  const wrong = ask(t, registry.url, { credentials: [{ token: "def" }] });
  await assert.rejects(wrong.upstream.getManifest(app, latest, never), (error) => isFailure(error, "refused"));
});

test("a realm on another site gets no request while we hold a password, and an anonymous one otherwise", async (t) => {
  const thief = await play(t, (_request, response) => response.end('{"token":"t"}'));
  const elsewhere = thief.url.replace("127.0.0.1", "localhost");
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === "Bearer t") return response.end("{}");
    response.writeHead(401, { "www-authenticate": `Bearer realm="${elsewhere}/t?secret=1",scope="x"` }).end();
  });
  const { upstream, said } = ask(t, registry.url, { credentials });
  await assert.rejects(upstream.getManifest(app, latest, never), (error) => {
    assert.ok(isFailure(error, "refused"));
    assert.match(error.message, /tokenRealm/);
    assert.doesNotMatch(JSON.stringify(error.detail), /secret/);
    return true;
  });
  assert.equal(thief.requests.length, 0);
  assert.ok(said.some(({ kind }) => kind === "upstreamTrouble"));
  for (const { headers } of registry.requests) assert.equal(headers.authorization, undefined);

  const configured = ask(t, registry.url, { credentials, tokenRealm: `${elsewhere}/t` });
  assert.ok("bytes" in (await configured.upstream.getManifest(app, latest, never)));
  assert.equal(thief.requests[0]?.headers.authorization, basic("robot", "hunter2"));
  const anonymous = ask(t, registry.url);
  assert.ok("bytes" in (await anonymous.upstream.getManifest(app, latest, never)));
  assert.equal(thief.requests[1]?.headers.authorization, undefined);
});

test("a token server's redirect to another site does not take the password along", async (t) => {
  const thief = await play(t, (_request, response) => response.end('{"token":"t"}'));
  const { registry } = await bearer(t, (response) => {
    response.writeHead(307, { location: `${thief.url.replace("127.0.0.1", "localhost")}/` }).end();
  });
  const { upstream } = ask(t, registry.url, { credentials });
  await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error, "refused"));
  assert.equal(thief.requests.length, 0);
});

test("a host that a redirect leads to is given an anonymous token of its own", async (t) => {
  const second = await bearer(t);
  const first = await play(t, (_request, response, path) => {
    response.writeHead(307, { location: second.registry.url + path }).end();
  });
  const { upstream } = ask(t, first.url, { credentials: [{ token: "ours" }] });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  assert.equal(first.requests[0]?.headers.authorization, "Bearer ours");
  for (const { headers } of [...second.tokens.requests, ...second.registry.requests]) {
    assert.doesNotMatch(headers.authorization ?? "", /ours/);
  }
});

test("a registry that names another token server is followed there", async (t) => {
  const good = await play(t, (_request, response) => response.end('{"token":"good"}'));
  let realm = "http://127.0.0.1:1/token";
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === "Bearer good") return response.end("{}");
    response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="s"` }).end();
  });
  const { upstream } = ask(t, registry.url);
  await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error, "unreachable"));
  realm = `${good.url}/token`;
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
});

test("a registry that asks for no token any more is asked without one while its token server is down", async (t) => {
  let isDown = false;
  const tokens = await play(t, (_request, response) => {
    if (isDown) response.writeHead(503).end();
    else response.end('{"token":"good"}');
  });
  const registry = await play(t, (request, response) => {
    if (isDown || request.headers.authorization !== undefined) return response.end("{}");
    response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.url}/token"` }).end();
  });
  const { upstream } = ask(t, registry.url);
  await upstream.getManifest(app, latest, never);
  isDown = true;
  assert.ok("bytes" in (await upstream.getManifest(parseRepository("other/thing"), latest, never)));
});

test("a token server that hangs is asked by one call, and the next follows the registry's own word", async (t) => {
  let mode: "good" | "hanging" = "good";
  const tokens = await play(t, (_request, response) => {
    if (mode === "good") response.end('{"token":"good"}');
  });
  const registry = await play(t, (request, response) => {
    if (mode === "hanging" || request.headers.authorization !== undefined) return response.end("{}");
    response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.url}/token"` }).end();
  });
  const { upstream } = ask(t, registry.url, { timeouts: { headersMs: 300 } });
  await upstream.getManifest(app, latest, never);
  mode = "hanging";
  const other = parseRepository("other/thing");
  await upstream.getManifest(other, latest, never).catch(() => {});
  assert.ok("bytes" in (await upstream.getManifest(other, latest, never)));
});

test("a registry that asked for a password once and now asks for a token is given one", async (t) => {
  let mode: "basic" | "bearer" = "basic";
  const tokens = await play(t, (_request, response) => response.end('{"token":"good"}'));
  const registry = await play(t, (request, response) => {
    const wanted = mode === "basic" ? basic("robot", "hunter2") : "Bearer good";
    if (request.headers.authorization === wanted) return response.end("{}");
    const challenge = mode === "basic" ? 'Basic realm="x"' : `Bearer realm="${tokens.url}/token",service="s"`;
    response.writeHead(401, { "www-authenticate": challenge }).end();
  });
  const { upstream } = ask(t, registry.url, { credentials });
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  mode = "bearer";
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
});

test("a wrong password is sent to the token server once, not with every request", async (t) => {
  const { tokens, registry } = await bearer(t, (response) => response.writeHead(401).end());
  const { upstream } = ask(t, registry.url, { credentials });
  for (let at = 0; at < 5; at++) {
    await assert.rejects(upstream.headManifest(app, latest, never), (error) => isFailure(error, "refused"));
  }
  assert.equal(tokens.requests.length, 1);
});

test("what a token server denies, or cannot say, costs it one request, not one or two for each question", async (t) => {
  for (const status of [401, 503]) {
    const { tokens, registry } = await bearer(t, (response) =>
      response.writeHead(status, { "retry-after": "60" }).end(),
    );
    const { upstream } = ask(t, registry.url);
    for (let at = 0; at < 4; at++) await upstream.headManifest(app, latest, never).catch(() => {});
    assert.equal(tokens.requests.length, 1, String(status));
  }
});

test("a host that a redirect led to is not handed the token of an account named like nobody's", async (t) => {
  const tokens = await play(t, (request, response) => {
    response.end(JSON.stringify({ token: request.headers.authorization === undefined ? "anyone" : "privileged" }));
  });
  const challenge = `Bearer realm="${tokens.url}/token",service="s",scope="repository:team/app:pull"`;
  const elsewhere = await play(t, (_request, response) => {
    response.writeHead(401, { "www-authenticate": challenge }).end();
  });
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { "www-authenticate": challenge }).end();
    } else response.writeHead(307, { location: `${elsewhere.url}/x` }).end();
  });
  const { upstream } = ask(t, registry.url, { credentials: [{ username: "anonymous", password: "hunter2" }] });
  await upstream.getManifest(app, latest, never);
  assert.deepEqual(
    elsewhere.requests.map(({ headers }) => headers.authorization),
    [undefined, "Bearer anyone"],
  );
});

test("what we sent is not in the text of an upstream that quotes it", async (t) => {
  const registry = await play(t, (request, response) => {
    const { authorization } = request.headers;
    if (authorization === undefined) {
      response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
      return;
    }
    const pair = Buffer.from(authorization.slice(6), "base64").toString();
    const message = `${"x".repeat(290 - pair.length)}${pair} ${authorization.slice(6)} ["${authorization}"]`;
    const quoted = request.url?.includes("/tags/") ? `no ${pair} ${authorization.slice(6)}` : message;
    const body = JSON.stringify({ errors: [{ code: "UNKNOWN", message: quoted }] }).replaceAll("h", "\\u0068");
    response.writeHead(500, { "content-type": "application/json" }).end(body);
  });
  const { upstream, said } = ask(t, registry.url, { credentials });
  for (const call of [
    () => upstream.getManifest(app, latest, never),
    () => upstream.listTags(app, "", never),
    () => upstream.headManifest(app, latest, never),
  ]) {
    await assert.rejects(call(), (error) => {
      assert.ok(isFailure(error, "unreachable"));
      const told = error.message + JSON.stringify(error.detail) + JSON.stringify(said);
      assert.doesNotMatch(told, /hunt|cm9ib3Q6/);
      return true;
    });
  }
});

test("a token that was obtained is not in the text of an upstream that quotes it, nor in a notice", async (t) => {
  const secret = "obtained/token-0123456789";
  const tokens = await play(t, (_request, response) => response.end(JSON.stringify({ token: secret })));
  const registry = await play(t, (request, response, path) => {
    if (request.headers.authorization === undefined) {
      response.writeHead(401, { "www-authenticate": `Bearer realm="${tokens.url}/token"` }).end();
    } else if (path.includes("/tags/")) response.writeHead(307, { location: `ftp://x/${secret}` }).end();
    else response.writeHead(500, { "content-type": "text/plain" }).end(`bad token: ${secret}`);
  });
  const { upstream, said } = ask(t, registry.url);
  for (const call of [() => upstream.getManifest(app, latest, never), () => upstream.listTags(app, "", never)]) {
    await assert.rejects(call(), (error) => {
      assert.ok(isFailure(error, "unreachable"));
      assert.ok(!(error.message + JSON.stringify(error.detail) + JSON.stringify(said)).includes(secret));
      return true;
    });
  }
});
