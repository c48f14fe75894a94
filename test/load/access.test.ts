/** Who may pull: challenges, tokens, certificates, and what a run says that cannot begin. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { isFailure } from "../../src/base/failure.ts";
import type { LoadOptions } from "../../src/load/options.ts";
import { runLoad } from "../../src/load/run.ts";
import type { UpstreamAuth } from "../kit/tokens.ts";
import { loadOptions } from "./options.ts";
import { KINDS, LONG, runClean, stocked, twoPulls } from "./runs.ts";

const BEARER: UpstreamAuth = { mode: "bearer", username: "robot", password: "secret" };
const login = { username: "robot", password: "secret" };

for (const as of KINDS) {
  test(`like ${as}, a challenge is answered with a token, once per client, and a CDN never sees it`, async () => {
    await using upstream = await stocked({ auth: BEARER, redirectBlobs: true });
    const report = await runClean(
      loadOptions(upstream.url, { as, login, scenario: "herd", clients: 3, durationMs: undefined }),
    );
    assert.deepEqual(report.errors, []);
    assert.equal(report.totals.pulls, 3);
    assert.equal(upstream.tokens.requests.length, 4, "three clients, and the one that looks first");
    assert.ok(upstream.count({ kind: "cdn" }) >= 15);
    assert.ok(upstream.matching({ kind: "cdn" }).every(({ headers }) => headers.authorization === undefined));
  });
}

test("Basic and anonymous tokens are understood", async () => {
  for (const [auth, given] of [
    [{ mode: "basic", ...login }, login],
    [{ mode: "bearer", tokenField: "access_token" }, undefined],
  ] as const) {
    await using upstream = await stocked({ auth });
    const report = await runClean(loadOptions(upstream.url, { login: given, ...LONG }), twoPulls());
    assert.deepEqual(report.errors, []);
  }
});

test("a password is not sent to a token server of another site", async () => {
  await using upstream = await stocked({
    auth: { ...BEARER, challenge: 'Bearer realm="http://localhost:9/token",service="x"' },
  });
  const refused = runClean(loadOptions(upstream.url, { login }));
  await assert.rejects(refused, (error) => isFailure(error, "refused") && /--token-realm/.test(error.message));
});

test("what cannot begin says why and what to do", async () => {
  await using upstream = await stocked({ auth: BEARER });
  await using open = await stocked();
  const failing = (options: LoadOptions) =>
    runClean(options).then(
      () => assert.fail(),
      (error: unknown) => error,
    );
  const told = async (options: LoadOptions, kind: "unknown" | "refused" | "unreachable" | "invalid", text: RegExp) => {
    const error = await failing(options);
    assert.ok(isFailure(error, kind), String(error));
    assert.match(error.message, text);
  };
  await told(loadOptions(open.url, { references: ["nothing:1"] }), "unknown", /nothing:1: .*no such image/);
  await told(loadOptions(upstream.url), "refused", /--username/);
  await told(loadOptions(upstream.url, { login: { username: "robot", password: "wrong" } }), "refused", /--username/);
  await told(loadOptions("http://127.0.0.1:1"), "unreachable", /connect/);
  await told(loadOptions(open.url, { references: ["UPPER"] }), "invalid", /UPPER/);
});

test("TLS: a certificate that nobody vouches for is refused, and --ca or --insecure help", async () => {
  await using upstream = await stocked();
  const pem = (name: string) => readFileSync(fileURLToPath(new URL(`../kit/tls/${name}.pem`, import.meta.url)), "utf8");
  const server = createServer({ cert: pem("server"), key: pem("server-key") }, async (request, response) => {
    const answer = await fetch(`${upstream.url}${request.url}`, { method: request.method ?? "GET" });
    const digest = answer.headers.get("docker-content-digest") ?? "";
    const type = answer.headers.get("content-type") ?? "";
    response.writeHead(answer.status, { "docker-content-digest": digest, "content-type": type });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  try {
    const herd = { scenario: "herd", clients: 1, durationMs: undefined } as const;
    const refused = runLoad(loadOptions(url, herd));
    await assert.rejects(refused, (error) => isFailure(error, "unreachable") && /--ca FILE/.test(error.message));
    for (const tls of [
      { ca: pem("server"), insecure: false },
      { ca: undefined, insecure: true },
    ]) {
      assert.deepEqual((await runLoad(loadOptions(url, { ...herd, tls }))).errors, []);
    }
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
