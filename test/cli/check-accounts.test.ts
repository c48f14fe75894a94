/** `wharfinger check` of accounts: whose are asked, what is a refusal and what is our own trouble, and what both come to. */
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { makeImage } from "../kit/image.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream, type TestUpstreamOptions } from "../kit/upstream.ts";
import { fileOf, say } from "./stage.ts";

type Settings = Readonly<Record<string, unknown>>;

const ROBOT = { username: "robot", password: "s3cret" };
const WRONG = { username: "other", password: "wrong" };
const BASIC: TestUpstreamOptions = { auth: { mode: "basic", ...ROBOT } };

async function registry(t: TestContext, options: TestUpstreamOptions = {}): Promise<TestUpstream> {
  const upstream = await TestUpstream.start(options);
  t.after(() => upstream.close());
  upstream.shelves.add("team/app", makeImage(), "latest");
  return upstream;
}

async function checkOne(t: TestContext, settings: Settings, args: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const upstreams = { "reg.test": { allowPrivate: true, ...settings } };
  const config = await fileOf(t, "config.yaml", JSON.stringify({ defaultUpstream: "reg.test", upstreams }));
  return await say(["check", "--config", config, ...args], env);
}

async function helper(t: TestContext, script: string) {
  const dir = await makeTempDir("helper");
  t.after(() => dir[Symbol.asyncDispose]());
  const path = join(dir.path, "docker-credential-own");
  writeFileSync(path, `#!/bin/sh\n${script}\n`);
  chmodSync(path, 0o755);
  return `${dir.path}:${process.env["PATH"]}`;
}

test("what the mirror's own rules refuse is refused, and nobody is asked for it", async (t) => {
  const upstream = await registry(t);
  const rules = { repositories: { allow: ["team/**"], deny: ["team/secret"] } };
  for (const repository of ["other/tool:1", "team/secret"]) {
    const { code, stdout } = await checkOne(t, { url: upstream.url, ...rules }, ["--repository", repository]);
    assert.equal(code, 4, stdout);
    assert.match(
      stdout,
      /reg\.test {2}refused\n {2}problem +this mirror's own rules .*upstreams\.reg\.test\.repositories/,
    );
  }
  assert.equal(upstream.requests.length, 0);
  assert.equal((await checkOne(t, { url: upstream.url, ...rules }, ["--repository", "team/app"])).code, 0);
});

test("accounts that are not for a repository are not shown for it, and the order of those that are is told", async (t) => {
  const upstream = await registry(t, BASIC);
  const credentials = [ROBOT, { ...ROBOT, repositories: ["team/*"] }, { ...WRONG, repositories: ["lab/*"] }];
  const { code, stdout } = await checkOne(t, { url: upstream.url, credentials }, ["--repository", "team/app"]);
  assert.equal(code, 0, stdout);
  assert.match(stdout, /other \(basic\): not for it, for lab\/\*/);
  assert.match(stdout, /order +for its repositories robot; robot for all others, and where the former are refused/);
  const only = await checkOne(t, { url: upstream.url, credentials: [credentials[2]] }, ["--repository", "team/app"]);
  assert.equal(only.code, 4, "nobody is left but anonymous");
});

test("a limit that is used up is exit code 1 though the registry answers; of one account of two it is degraded", async (t) => {
  const upstream = await registry(t, { pullLimit: { limit: 1, windowSeconds: 21_600 } });
  await fetch(`${upstream.url}/v2/team/app/manifests/latest`).then((answer) => answer.arrayBuffer());
  const { code, stdout } = await checkOne(t, { url: upstream.url }, ["--repository", "team/app"]);
  assert.equal(code, 1, stdout);
  assert.match(stdout, /reg\.test {2}limited/);
  assert.match(stdout, /limit +0 left of 1/);
  assert.match(stdout, /problem +reg\.test allows anonymous no more pulls/);
});

test("one bad account of two is degraded and exit code 1; all of them bad is refused and exit code 4", async (t) => {
  const upstream = await registry(t, BASIC);
  const one = await checkOne(t, { url: upstream.url, credentials: [ROBOT, WRONG] });
  assert.equal(one.code, 1);
  assert.match(one.stdout, /reg\.test {2}degraded/);
  const all = await checkOne(t, { url: upstream.url, credentials: [WRONG, { ...WRONG, username: "third" }] });
  assert.equal(all.code, 4);
  assert.match(all.stdout, /reg\.test {2}refused/);
});

test("of several upstreams a refusal goes before one that cannot be reached", async (t) => {
  const upstream = await registry(t, BASIC);
  const gone = await TestUpstream.start();
  await gone.close();
  const upstreams = {
    "gone.test": { url: gone.url, allowPrivate: true },
    "reg.test": { url: upstream.url, allowPrivate: true },
  };
  const config = await fileOf(t, "config.yaml", JSON.stringify({ defaultUpstream: "reg.test", upstreams }));
  assert.equal((await say(["check", "--config", config])).code, 4);
});

test("a helper's trouble is told as the account's, by a word and a line of its own", async (t) => {
  const upstream = await registry(t, BASIC);
  const missing = await checkOne(t, { url: upstream.url, credentials: [{ helper: "there-is-none" }] });
  assert.equal(missing.code, 1);
  assert.match(missing.stdout, /reg\.test {2}unusable/);
  assert.match(missing.stdout, /docker-credential-there-is-none is not there: it must be in a directory of PATH/);
  const PATH = await helper(t, "exit 1");
  const broken = await checkOne(t, { url: upstream.url, credentials: [{ helper: "own" }] }, [], { PATH });
  assert.equal(broken.code, 1);
  assert.match(broken.stdout, /run it by hand/);
});

test("a config.json without an entry for the registry is told to have none", async (t) => {
  const upstream = await registry(t, { auth: { mode: "bearer" } });
  const dockerConfig = await fileOf(t, "docker.json", JSON.stringify({ auths: { "other.test": {} } }));
  const { code, stdout } = await checkOne(t, { url: upstream.url, credentials: [{ dockerConfig }] });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /\(dockerConfig\): has no entry for this registry: anonymous/);
});

test("--offline tells programs and packages that are missing, without running them", async (t) => {
  const PATH = await helper(t, "exit 1");
  const credentials = [{ helper: "own" }, { helper: "there-is-none" }];
  const { code, stdout } = await checkOne(t, { credentials }, ["--offline"], { PATH });
  assert.equal(code, 1);
  assert.match(stdout, /^unusable {2}reg\.test: the program docker-credential-there-is-none is not there/);
  assert.doesNotMatch(stdout, /credential-own/);
});

test("what files hold wrongly is told all at once, with upstream and item", async (t) => {
  const empty = await fileOf(t, "empty", "");
  const broken = await fileOf(t, "config.json", "{");
  const credentials = [{ username: "a", passwordFile: empty }, { dockerConfig: broken }];
  const { code, stderr } = await checkOne(t, { credentials, tls: { ca: empty } }, ["--offline"]);
  assert.equal(code, 2);
  assert.match(stderr, /upstreams\.reg\.test\.credentials\.0 \(1st item\): .*empty/);
  assert.match(stderr, /upstreams\.reg\.test\.credentials\.1 \(2nd item\): .*is not JSON/);
  assert.match(stderr, /upstreams\.reg\.test\.tls\.ca: /);
});

test("--json tells faults and an unknown upstream as JSON as well", async (t) => {
  const bad = await fileOf(t, "bad.yaml", "upstreams:\n  reg.test:\n    ulr: https://x\n");
  const faulty = await say(["check", "--json", "--config", bad]);
  assert.equal(faulty.code, 2);
  const told = JSON.parse(faulty.stdout);
  assert.equal(told.result, "invalid");
  const ulr = told.faults.find((one: { path?: string }) => one.path === "upstreams.reg.test.ulr");
  assert.equal(ulr.line, 3);
  const unknown = await say(["check", "--json", "--upstream", "other.test"]);
  assert.equal(unknown.code, 3);
  assert.equal(JSON.parse(unknown.stdout).result, "unknown");
});

test("what was read is said, and the flags of serve are taken", async (t) => {
  const none = await say(["check", "--offline", "--listen", "127.0.0.1:0"]);
  assert.equal(none.code, 0, none.stderr);
  assert.match(none.stdout, /; no --config: the built-in defaults\n$/);
  const empty = await fileOf(t, "empty.yaml", "# nothing\n\n");
  assert.match((await say(["check", "--offline", "--config", empty])).stdout, /empty\.yaml is empty: the built-in/);
  const bad = await say(["check", "--offline", "--listen", "nowhere"]);
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /--listen/);
  assert.match((await say(["check", "--what"])).stderr, /wharfinger check --help says/);
});
