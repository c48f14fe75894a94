/** The probe of one upstream: what it does not do, and that it ends whatever the other side does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../../src/base/clock.ts";
import { Failure } from "../../../src/base/failure.ts";
import type { Held } from "../../../src/upstream/credentials/credential.ts";
import { type ProbeOptions, probeUpstream } from "../../../src/upstream/probe/probe.ts";
import { findProbeImage } from "../../../src/upstream/probe/probe-images.ts";
import { TestUpstream } from "../../kit/upstream.ts";
import { fixedCredential } from "../credentials/fixed.ts";

function optionsFor(url: string, more: Partial<ProbeOptions> = {}): ProbeOptions {
  const upstream = {
    url,
    allowPrivate: true,
    tls: { insecureSkipVerify: false },
    credentials: [],
    tokenRealm: null,
    limits: { connections: 64 },
    offline: false,
  };
  return { upstream, accounts: [], allow: ["**"], ...more };
}

test("a registry that never answers is given up after the time limit, and its connection is closed", async () => {
  await using upstream = await TestUpstream.start();
  const gate = upstream.gate({ kind: "ping" }, "headers");
  const report = await probeUpstream("reg.test", optionsFor(upstream.url), { clock: systemClock, timeoutMs: 100 });
  assert.equal(report.result, "unreachable");
  assert.match(report.endpoints[0]?.problem ?? "", /did not answer within 0\.1 s/);
  gate.release();
  assert.equal(upstream.count({}), 1);
});

test("a token server that never answers costs the account alone, and no more than the time limit", async () => {
  await using upstream = await TestUpstream.start({ auth: { mode: "bearer" } });
  const gate = upstream.gate({ kind: "token" }, "headers");
  const report = await probeUpstream("reg.test", optionsFor(upstream.url), { clock: systemClock, timeoutMs: 200 });
  assert.equal(report.result, "unreachable");
  assert.equal(report.endpoints[0]?.status, 401);
  assert.equal(report.endpoints[0]?.accounts[0]?.credentials, "not known");
  gate.release();
});

test("several accounts are each asked for, and the one that is refused is named", async () => {
  const right = { username: "robot", password: "right" };
  await using upstream = await TestUpstream.start({ auth: { mode: "basic", ...right } });
  const other = fixedCredential("other", { kind: "basic", username: "other", password: "wrong" });
  const accounts = [
    { form: "basic", repositories: ["team/**"], source: fixedCredential("robot", { kind: "basic", ...right }) },
    { form: "basic", repositories: ["**"], source: other },
  ];
  const options = optionsFor(upstream.url, { accounts });
  const report = await probeUpstream("reg.test", options, { clock: systemClock });
  assert.equal(report.result, "degraded");
  assert.deepEqual(
    report.endpoints[0]?.accounts.map(({ account, credentials, repositories }) => [account, credentials, repositories]),
    [
      ["robot", "accepted", ["team/**"]],
      ["other", "refused", ["**"]],
    ],
  );
});

test("the image to ask about is the one that was named, the registry's own, or the first that may be pulled", () => {
  const hub = new URL("https://registry-1.docker.io");
  const other = new URL("https://reg.test");
  assert.equal(findProbeImage(hub, undefined, ["**"])?.repository, "ratelimitpreview/test");
  assert.equal(findProbeImage(hub, { repository: "a/b", tag: "1" }, ["**"])?.repository, "a/b");
  assert.equal(findProbeImage(other, undefined, ["**"]), undefined);
  assert.equal(findProbeImage(other, undefined, ["team/*", "team/app"])?.repository, "team/app");
});

test("the registry is not blamed for a credential that is slow to come, or that does not", async () => {
  await using upstream = await TestUpstream.start({ auth: { mode: "basic", username: "robot", password: "right" } });
  const slow = (hold: () => Promise<Held>) => ({
    form: "helper",
    repositories: ["**"],
    source: {
      account: "helper:slow",
      hold: () => new Promise<void>((resolve) => setTimeout(resolve, 400)).then(hold),
      refused: () => {},
    },
  });
  const probe = async (hold: () => Promise<Held>) =>
    await probeUpstream("reg.test", optionsFor(upstream.url, { accounts: [slow(hold)] }), {
      clock: systemClock,
      timeoutMs: 300,
    });
  const good = await probe(async () => ({ kind: "basic", username: "robot", password: "right" }));
  assert.equal(good.result, "ok");
  const none = await probe(() => Promise.reject(new Failure("unreachable", "the program did not answer")));
  assert.equal(none.result, "unusable");
  assert.equal(none.endpoints[0]?.accounts[0]?.problem, "the program did not answer");
});
