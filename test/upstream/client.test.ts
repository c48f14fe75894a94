/**
 * The client against registries that redirect, fail, limit and break off.
 */
import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { readableOf } from "../../src/base/flow.ts";
import { OCI_INDEX } from "../../src/oci/mediatypes.ts";
import { MAX_MANIFEST_BYTES } from "../../src/upstream/upstream.ts";
import { app, ask, digest, latest, never, play } from "./scene.ts";

test("a manifest comes with its type and digest, and every request says who asks", async (t) => {
  const registry = await play(t, (_request, response) => {
    response.writeHead(200, {
      "content-type": `${OCI_INDEX}; charset=utf-8`,
      "docker-content-digest": digest,
      "ratelimit-limit": "100;w=21600",
      "ratelimit-remaining": "99;w=21600",
    });
    response.end("{}");
  });
  const { upstream, said } = ask(t, `${registry.url}/base/v2/`);
  const answer = await upstream.getManifest(app, latest, never);
  assert.deepEqual(answer, { bytes: Buffer.from("{}"), mediaType: OCI_INDEX, digest });
  const { line, headers } = registry.requests[0] ?? assert.fail();
  assert.equal(line, "GET /base/v2/team/app/manifests/latest");
  assert.match(headers.accept ?? "", /image\.index.*manifest\.list.*\*\/\*/);
  assert.match(headers["user-agent"] ?? "", /^wharfinger\/\d/);
  assert.equal(headers.via, "1.1 wharfinger");
  assert.equal(headers["accept-encoding"], "identity");
  assert.deepEqual(said.map(({ kind }) => kind).sort(), ["rateLimit", "upstreamBytes", "upstreamRequest"]);
});

test("a HEAD does not cost a connection", async (t) => {
  const ports = new Set<number | undefined>();
  const registry = await play(t, (request, response) => {
    ports.add(request.socket.remotePort);
    response.writeHead(200, { "content-length": "5", "docker-content-digest": digest, connection: "keep-alive" }).end();
  });
  const { upstream } = ask(t, registry.url);
  for (let at = 0; at < 5; at++) {
    const head = await upstream.headManifest(app, latest, never);
    assert.deepEqual(head, { digest, mediaType: undefined, sizeBytes: 5 });
  }
  // The pool may open another before it knows that the first is free.
  assert.ok(ports.size < 5);
});

test("404 is absence; other statuses are failures that carry the status and a short text", async (t) => {
  let status = 404;
  const registry = await play(t, (_request, response) => {
    response.writeHead(status, { "content-type": "text/html" }).end("<html>sorry</html>");
  });
  const { upstream } = ask(t, registry.url);
  assert.deepEqual(await upstream.headBlob(app, digest, never), { absent: "unknown" });
  for (status of [400, 500, 503, 204, 304]) {
    await assert.rejects(upstream.getManifest(app, latest, never), (error) => {
      assert.ok(isFailure(error, "unreachable"));
      assert.equal(error.upstreamStatus, status);
      assert.doesNotMatch(error.message, /sorry/);
      return true;
    });
  }
  status = 200;
  await assert.rejects(upstream.getManifest(app, latest, never), /web page/);
});

test("429 is limited, with the wait in seconds, as a date, or unknown", async (t) => {
  let wait: Record<string, string> = { "retry-after": "30" };
  const registry = await play(t, (_request, response) => {
    response.writeHead(429, wait).end('{"errors":[{"code":"TOOMANYREQUESTS","message":"slow down"}]}');
  });
  const limit = async () => {
    // Who was told to wait would not be asked again.
    const { upstream, said } = ask(t, registry.url);
    const error = await upstream.getManifest(app, latest, never).catch((thrown) => thrown);
    assert.ok(isFailure(error, "limited"));
    assert.match(error.message, /slow down/);
    assert.ok(said.some(({ kind }) => kind === "upstreamLimited"));
    return error.retryAfterMs;
  };
  const inSeconds = (await limit()) ?? 0;
  assert.ok(inSeconds > 29_000 && inSeconds <= 30_000, `${inSeconds}`);
  wait = { "retry-after": new Date(Date.now() + 60_000).toUTCString() };
  const dated = (await limit()) ?? 0;
  assert.ok(dated > 50_000 && dated <= 60_000);
  wait = { "retry-after": "soon" };
  const unknown = (await limit()) ?? 0;
  assert.ok(unknown > 1000, `${unknown} ms, after shorter waits were tried`);
});

test("a redirect to another origin takes the range along and leaves our authorization behind", async (t) => {
  const cdn = await play(t, (_request, response) => {
    response.writeHead(206, { "content-range": "bytes 2-5/6" }).end("cdef");
  });
  const registry = await play(t, (_request, response) => {
    response.writeHead(307, { location: `${cdn.url}/signed?sig=abc` }).end();
  });
  const { upstream } = ask(t, registry.url, { credentials: [{ token: "ours" }] });
  const blob = await upstream.openBlob(app, digest, { start: 2 }, never);
  assert.ok("body" in blob);
  assert.deepEqual(
    [blob.startByte, blob.bodyBytes, blob.sizeBytes, await text(readableOf(blob.body))],
    [2, 4, 6, "cdef"],
  );
  assert.equal(registry.requests[0]?.headers.authorization, "Bearer ours");
  assert.equal(cdn.requests[0]?.headers.authorization, undefined);
  assert.equal(cdn.requests[0]?.headers.range, "bytes=2-");
  assert.equal(cdn.requests[0]?.headers.accept, "*/*");
});

test("ten redirects are followed, eleven and loops are not", async (t) => {
  let last = 10;
  const registry = await play(t, (_request, response, path) => {
    const hop = Number(/hop=(\d+)/.exec(path)?.[1] ?? 0);
    if (hop === last) response.end("{}");
    else response.writeHead(302, { location: `?hop=${hop + 1}` }).end();
  });
  const { upstream } = ask(t, registry.url);
  assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
  last = 11;
  await assert.rejects(upstream.getManifest(app, latest, never), /more than 10 redirects/);
  const loop = await play(t, (_request, response, path) => response.writeHead(302, { location: path }).end());
  const looping = ask(t, loop.url);
  await assert.rejects(looping.upstream.getManifest(app, latest, never), /redirect loop/);
  assert.equal(loop.requests.length, 1);
  assert.ok(looping.said.some(({ kind }) => kind === "upstreamTrouble"));
});

test("private addresses are not connected to unless they are allowed, by literal or by name", async (t) => {
  const registry = await play(t, (_request, response) => response.end("{}"));
  for (const url of [registry.url, registry.url.replace("127.0.0.1", "localhost")]) {
    const { upstream } = ask(t, url, { allowPrivate: false });
    await assert.rejects(upstream.getManifest(app, latest, never), (error) => {
      assert.ok(isFailure(error, "unreachable"));
      assert.match(error.message, /allowPrivate/);
      return true;
    });
  }
  assert.equal(registry.requests.length, 0);
  const trap = await play(t, (_request, response) => {
    response.writeHead(307, { location: "http://169.254.169.254/latest/meta-data/" }).end();
  });
  await assert.rejects(ask(t, trap.url).upstream.getManifest(app, latest, never), /no registry is ever asked/);
});

test("a HEAD refused behind a redirect is asked again as GET, its body not read", async (t) => {
  const cdn = await play(t, (request, response) => {
    if (request.method === "HEAD") response.writeHead(403).end();
    else response.writeHead(200, { "content-length": "1000000" }).write("x");
  });
  const registry = await play(t, (_request, response) => response.writeHead(307, { location: cdn.url }).end());
  const { upstream } = ask(t, registry.url);
  assert.deepEqual(await upstream.headBlob(app, digest, never), { sizeBytes: 1_000_000 });
  assert.deepEqual(
    registry.requests.map(({ line }) => line.slice(0, 4)),
    ["HEAD", "GET "],
  );
});

test("a manifest that is too large is refused by its length, by its bytes and when it decodes to too much", async (t) => {
  let mode = "length";
  const registry = await play(t, (_request, response) => {
    if (mode === "length") response.writeHead(200, { "content-length": String(MAX_MANIFEST_BYTES + 1) }).write("x");
    else if (mode === "gzip") {
      response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync(Buffer.alloc(MAX_MANIFEST_BYTES + 1)));
    } else response.end(Buffer.alloc(MAX_MANIFEST_BYTES + 1)).flushHeaders();
  });
  const { upstream } = ask(t, registry.url);
  for (mode of ["length", "gzip", "bytes"]) {
    await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error, "corrupt"), mode);
  }
});

test("encoded bodies are decoded, and their length is not told", async (t) => {
  const registry = await play(t, (_request, response) => {
    response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync("plain"));
  });
  const { upstream } = ask(t, registry.url);
  const manifest = await upstream.getManifest(app, latest, never);
  assert.ok("bytes" in manifest && manifest.bytes.toString() === "plain");
  const blob = await upstream.openBlob(app, digest, undefined, never);
  assert.ok("body" in blob && blob.sizeBytes === undefined && blob.bodyBytes === undefined);
  assert.equal(await text(readableOf(blob.body)), "plain");
});

test("a body that breaks off fails as unreachable, for a blob and for a manifest", async (t) => {
  const registry = await play(t, (_request, response) => {
    response.writeHead(200, { "content-length": "100" }).write("x", () => setTimeout(() => response.destroy(), 20));
  });
  const { upstream } = ask(t, registry.url);
  const blob = await upstream.openBlob(app, digest, undefined, never);
  assert.ok("body" in blob && blob.bodyBytes === 100);
  await assert.rejects(text(readableOf(blob.body)), (error) => isFailure(error, "unreachable"));
  await assert.rejects(upstream.getManifest(app, latest, never), (error) => isFailure(error, "unreachable"));
});

test("another range than asked for is corrupt; a whole body in its place starts at 0; 416 is corrupt", async (t) => {
  let answer: [number, Record<string, string>] = [206, { "content-range": "bytes 0-4/10" }];
  const registry = await play(t, (_request, response) => response.writeHead(...answer).end("01234"));
  const { upstream } = ask(t, registry.url);
  const corrupt = (error: unknown) => isFailure(error, "corrupt");
  await assert.rejects(upstream.openBlob(app, digest, { start: 5 }, never), corrupt);
  await assert.rejects(upstream.openBlob(app, digest, undefined, never), corrupt);
  answer = [206, {}];
  await assert.rejects(upstream.openBlob(app, digest, { start: 0 }, never), corrupt);
  answer = [416, {}];
  await assert.rejects(upstream.openBlob(app, digest, { start: 99 }, never), corrupt);
  answer = [200, {}];
  const whole = await upstream.openBlob(app, digest, { start: 2, end: 3 }, never);
  assert.ok("body" in whole && whole.startByte === 0);
  assert.equal(await text(readableOf(whole.body)), "01234");
});

test("silence before the headers ends in a timeout, and a caller's abort in its own reason", async (t) => {
  const registry = await play(t, () => {});
  const { upstream } = ask(t, registry.url, { timeouts: { headersMs: 100 } });
  await assert.rejects(
    upstream.getManifest(app, latest, never),
    (error) => isFailure(error, "unreachable") && error.timedOut,
  );
  const reason = new Error("the caller left");
  const caller = new AbortController();
  const call = ask(t, registry.url).upstream.getManifest(app, latest, caller.signal);
  setTimeout(() => caller.abort(reason), 30);
  await assert.rejects(call, reason);
});

test("an abort ends a running blob, and its slot is free for the next", async (t) => {
  const registry = await play(t, (_request, response) => {
    response.writeHead(200, { "content-length": "100" }).write("x");
  });
  const { upstream } = ask(t, registry.url, { limits: { connections: 1 }, timeouts: { headersMs: 200 } });
  const caller = new AbortController();
  const first = await upstream.openBlob(app, digest, undefined, caller.signal);
  assert.ok("body" in first);
  const second = upstream.openBlob(app, digest, undefined, never);
  // Waiting for a slot is not waiting for the network: no timeout meanwhile.
  setTimeout(() => caller.abort(), 400);
  await assert.rejects(text(readableOf(first.body)), (error) => error instanceof Failure);
  const opened = await second;
  assert.ok("body" in opened);
  opened.body.destroy();
});

test("a list carries the next page's query and the filters", async (t) => {
  const registry = await play(t, (_request, response) => {
    response
      .writeHead(200, { link: '</v2/x?n=2&last=b>; rel="next"', "oci-filters-applied": "artifactType" })
      .end("{}");
  });
  const { upstream } = ask(t, registry.url);
  const tags = await upstream.listTags(app, "n=2&last=a", never);
  assert.ok("bytes" in tags && tags.nextQuery === "n=2&last=b");
  const referrers = await upstream.listReferrers(app, digest, "", never);
  assert.ok("bytes" in referrers && referrers.filtersApplied === "artifactType");
  assert.equal(registry.requests[0]?.line, "GET /v2/team/app/tags/list?n=2&last=a");
  assert.equal(registry.requests[1]?.line, `GET /v2/team/app/referrers/${digest}`);
});

test("a registry that does not run is unreachable, with what to check", async (t) => {
  const { upstream } = ask(t, "http://127.0.0.1:1");
  await assert.rejects(upstream.getManifest(app, latest, never), (error) => {
    assert.ok(isFailure(error, "unreachable"));
    assert.match(error.message, /upstreams\.reg\.test\.url/);
    return true;
  });
});

test("offline asks nobody", async (t) => {
  const registry = await play(t, (_request, response) => response.end("{}"));
  const { upstream } = ask(t, registry.url, { offline: true });
  await assert.rejects(upstream.headManifest(app, latest, never), /^Failure: offline/);
  await assert.rejects(upstream.openBlob(app, digest, undefined, never), (error) => isFailure(error, "unknown"));
  assert.equal(registry.requests.length, 0);
});

test("a closed upstream fails calls", async (t) => {
  const registry = await play(t, (_request, response) => response.end("{}"));
  const { upstream } = ask(t, registry.url);
  await upstream.close();
  await assert.rejects(upstream.getManifest(app, latest, never), /closed/);
});

for (const how of ["destroy", "resetAndDestroy"] as const) {
  test(`a request that a kept connection ends under is made once more (${how})`, async (t) => {
    let count = 0;
    const registry = await play(t, (request, response) => {
      count += 1;
      if (count === 2) request.socket[how]();
      else response.end("{}");
    });
    const { upstream } = ask(t, registry.url);
    assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
    // The pool takes a moment to know that the connection is free.
    await sleep(50);
    assert.ok("bytes" in (await upstream.getManifest(app, latest, never)));
    assert.equal(count, 3);
  });
}

for (const how of ["destroy", "resetAndDestroy"] as const) {
  test(`a blob whose kept connection ends under the request is asked for once more (${how})`, async (t) => {
    let count = 0;
    const registry = await play(t, (request, response) => {
      count += 1;
      if (count === 2) request.socket[how]();
      else response.end("{}");
    });
    const { upstream } = ask(t, registry.url);
    for (let turn = 0; turn < 2; turn++) {
      const blob = await upstream.openBlob(app, digest, undefined, never);
      assert.ok("body" in blob);
      assert.equal(await text(readableOf(blob.body)), "{}");
    }
    assert.equal(count, 3);
  });
}

test("a blob's answers that are redirects or errors leave their connection for the next request", async (t) => {
  const ports = new Set<number | undefined>();
  let status = 200;
  const registry = await play(t, (request, response, path) => {
    ports.add(request.socket.remotePort);
    if (!path.startsWith("/signed")) response.writeHead(307, { location: "/signed" }).end("moved");
    else response.writeHead(status).end("x".repeat(1000));
  });
  const { upstream } = ask(t, registry.url);
  for (status of [400, 404, 200]) {
    const blob = await upstream.openBlob(app, digest, undefined, never).catch(() => undefined);
    if (blob !== undefined && "body" in blob) assert.equal((await text(readableOf(blob.body))).length, 1000);
  }
  assert.equal(registry.requests.length, 6);
  assert.equal(ports.size, 1);
});

test("a redirect with two Locations is not followed", async (t) => {
  const registry = await play(t, (_request, response, path) => {
    if (path.startsWith("/b")) response.end("{}");
    else response.writeHead(307, ["location", "/b1", "location", "/b2"]).end();
  });
  const { upstream } = ask(t, registry.url);
  await assert.rejects(upstream.getManifest(app, latest, never), /without one Location/);
  assert.equal(registry.requests.length, 1);
});

test("limits that another host tells of are not the registry's", async (t) => {
  const limits = (remaining: number) => ({ "ratelimit-limit": "100", "ratelimit-remaining": String(remaining) });
  const cdn = await play(t, (_request, response) => response.writeHead(200, limits(4999)).end("{}"));
  const registry = await play(t, (_request, response) => {
    response.writeHead(307, { location: `${cdn.url}/x`, ...limits(3) }).end();
  });
  const { upstream, said } = ask(t, registry.url);
  await upstream.getManifest(app, latest, never);
  const told = said.filter(({ kind }) => kind === "rateLimit").map(({ fact }) => fact);
  assert.deepEqual(told, [{ upstream: "reg.test", account: "anonymous", limit: 100, remaining: 3 }]);
});
