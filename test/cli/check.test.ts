/** `wharfinger check`: what it says of each upstream, to people and to scripts, and its exit codes. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { makeImage } from "../kit/image.ts";
import { pemPath } from "../kit/mode.ts";
import { TestUpstream, type TestUpstreamOptions } from "../kit/upstream.ts";
import { play } from "../upstream/scene.ts";
import { fileOf, say } from "./stage.ts";

const PASSWORD = "s3cret-pass-phrase";
const image = makeImage();

async function registry(t: TestContext, options: TestUpstreamOptions = {}): Promise<TestUpstream> {
  const upstream = await TestUpstream.start(options);
  t.after(() => upstream.close());
  upstream.shelves.add("team/app", image, "latest");
  return upstream;
}

type Settings = Readonly<Record<string, unknown>>;

/** A configuration file with these upstreams, `reg.test` the default; JSON is YAML. */
function configOf(t: TestContext, upstreams: Readonly<Record<string, Settings>>, more: Settings = {}): Promise<string> {
  return fileOf(t, "config.yaml", JSON.stringify({ defaultUpstream: Object.keys(upstreams)[0], upstreams, ...more }));
}

async function checkOne(t: TestContext, settings: Settings, ...args: string[]) {
  const config = await configOf(t, { "reg.test": { allowPrivate: true, ...settings } });
  const said = await say(["check", "--config", config, ...args]);
  assert.ok(!`${said.stdout}${said.stderr}`.includes(PASSWORD), "a secret was told");
  return said;
}

async function reportOf(t: TestContext, settings: Settings, ...args: string[]) {
  const said = await checkOne(t, settings, "--json", ...args);
  const report = JSON.parse(said.stdout);
  return { code: said.code, report, one: report.upstreams[0], endpoint: report.upstreams[0].endpoints?.[0] };
}

const login = { credentials: [{ username: "robot", password: PASSWORD }] };

test("a registry that lets anybody in is ok, and nothing of it is fetched", async (t) => {
  const upstream = await registry(t);
  const { code, stdout, stderr } = await checkOne(t, { url: upstream.url });
  assert.equal(code, 0, stdout);
  assert.equal(stderr, "");
  assert.match(stdout, /^reg\.test {2}ok\n/);
  assert.match(stdout, /address +http:\/\/127\.0\.0\.1:\d+ \(127\.0\.0\.1 private\), direct/);
  assert.match(stdout, /answer +200 in \d+ ms, clock (?:the same|\d+ s (?:ahead|behind))/);
  assert.match(stdout, /realm +none, it lets anybody in/);
  assert.match(stdout, /account +anonymous: not asked for/);
  assert.match(stdout, /referrers +not known/);
  assert.match(stdout, /\n1 upstream: 1 ok; as in .*config\.yaml\n$/);
  assert.equal(upstream.count({ method: "GET", kind: "manifest" }) + upstream.count({ kind: "blob" }), 0);
});

test("the program run as users run it asks, prints and exits by itself", async (t) => {
  const upstream = await registry(t);
  const config = await configOf(t, { "reg.test": { url: upstream.url, allowPrivate: true } });
  const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
  // The tests' own settings are in variables that begin like the program's.
  const env = { PATH: process.env["PATH"] };
  const args = [main, "check", "--config", config];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], env });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  assert.equal(code, 0);
  assert.match(text, /reg\.test {2}ok/);
});

test("Basic credentials are accepted or refused, and the refusal names what to mend", async (t) => {
  const upstream = await registry(t, { auth: { mode: "basic", username: "robot", password: PASSWORD } });
  const right = await reportOf(t, { url: upstream.url, ...login });
  assert.equal(right.code, 0);
  assert.equal(right.endpoint.accounts[0].account, "robot");
  assert.equal(right.endpoint.accounts[0].credentials, "accepted");
  assert.equal(right.endpoint.realm.scheme, "basic");
  const wrong = await checkOne(t, { url: upstream.url, credentials: [{ username: "robot", password: "wrong-one" }] });
  assert.equal(wrong.code, 4);
  assert.match(wrong.stdout, /account +robot \(basic\): refused/);
  assert.match(wrong.stdout, /check upstreams\.reg\.test\.credentials/);
  assert.ok(!wrong.stdout.includes("wrong-one"));
  const none = await checkOne(t, { url: upstream.url });
  assert.equal(none.code, 4);
  assert.match(none.stdout, /set upstreams\.reg\.test\.credentials/);
});

test("a token is asked for where the registry says, with the right password and with a wrong one", async (t) => {
  const upstream = await registry(t, { auth: { mode: "bearer", username: "robot", password: PASSWORD } });
  const right = await reportOf(t, { url: upstream.url, ...login, repositories: { allow: ["team/app"] } });
  assert.equal(right.code, 0);
  assert.deepEqual(right.endpoint.realm, {
    scheme: "bearer",
    server: upstream.realm,
    mayHaveCredentials: true,
    why: "the registry's own host",
  });
  assert.equal(right.endpoint.accounts[0].credentials, "accepted");
  assert.deepEqual(right.endpoint.accounts[0].image, { repository: "team/app", tag: "latest", found: "yes" });
  assert.deepEqual(upstream.tokens.requests[0]?.scopes, ["repository:team/app:pull"]);
  const wrong = await reportOf(t, { url: upstream.url, credentials: [{ username: "robot", password: "no" }] });
  assert.equal(wrong.code, 4);
  assert.equal(wrong.endpoint.accounts[0].credentials, "refused");
});

test("anonymous tokens are enough where the token server gives them, and a repository that it gives none for is refused", async (t) => {
  const upstream = await registry(t, { auth: { mode: "bearer", deniedRepositories: ["team/private"] } });
  const open = await reportOf(t, { url: upstream.url }, "--repository", "team/app");
  assert.equal(open.code, 0);
  assert.equal(open.endpoint.accounts[0].form, "anonymous");
  assert.equal(open.endpoint.accounts[0].image.found, "yes");
  const missing = await reportOf(t, { url: upstream.url }, "--repository", "team/other:1.0");
  assert.equal(missing.code, 0, "a repository that is not there is no fault of the configuration");
  assert.equal(missing.endpoint.accounts[0].image.found, "no");
  const closed = await checkOne(t, { url: upstream.url }, "--repository", "team/private");
  assert.equal(closed.code, 4);
  assert.match(closed.stdout, /team\/private:latest may not be pulled/);
});

test("a realm of another site gets no credential, and the setting that would let it have them is named", async (t) => {
  const challenge = 'Bearer realm="https://auth.elsewhere.example/token",service="x"';
  const upstream = await registry(t, { auth: { mode: "bearer", challenge, username: "robot", password: PASSWORD } });
  const { code, stdout } = await checkOne(t, { url: upstream.url, ...login });
  assert.equal(code, 4);
  assert.match(stdout, /realm +bearer, https:\/\/auth\.elsewhere\.example\/token; no credentials go there/);
  assert.match(stdout, /set upstreams\.reg\.test\.tokenRealm/);
  assert.equal(upstream.tokens.requests.length, 0);
});

test("nobody there is exit code 1; the other upstreams and endpoints are asked all the same", async (t) => {
  const upstream = await registry(t);
  const gone = await TestUpstream.start();
  await gone.close();
  const config = await configOf(t, {
    "gone.test": { url: gone.url, allowPrivate: true },
    "reg.test": { url: upstream.url, endpoints: [gone.url], allowPrivate: true },
    "good.test": { url: upstream.url, allowPrivate: true },
  });
  const { code, stdout } = await say(["check", "--config", config]);
  assert.equal(code, 1);
  assert.match(stdout, /gone\.test {2}unreachable\n[\s\S]*refuses connections; check upstreams\.gone\.test\.url/);
  assert.match(stdout, /reg\.test {2}degraded\n[\s\S]*check upstreams\.reg\.test\.endpoints/);
  assert.match(stdout, /3 upstreams: 1 ok, 1 degraded, 1 unreachable/);
  const quiet = await say(["check", "--config", config, "--quiet"]);
  assert.doesNotMatch(quiet.stdout, /good\.test/);
  assert.equal((await say(["check", "--config", config, "--quiet", "--upstream", "good.test"])).stdout, "");
  const unknown = await say(["check", "--config", config, "--upstream", "other.test"]);
  assert.equal(unknown.code, 3);
  assert.match(unknown.stderr, /other\.test is not among the upstreams: gone\.test, reg\.test, good\.test/);
});

test("what a registry tells of its limit is told, and one that is used up is exit code 1 with the time to wait", async (t) => {
  const upstream = await registry(t, { pullLimit: { limit: 100, windowSeconds: 21_600 } });
  const told = await checkOne(t, { url: upstream.url }, "--repository", "team/app");
  assert.equal(told.code, 0);
  assert.match(told.stdout, /limit +100 left of 100 in 6 h/);
  assert.equal(upstream.pullsUsed, 0);
  upstream.fault({}, { status: 429, retryAfter: "120" });
  const { code, endpoint } = await reportOf(t, { url: upstream.url });
  assert.equal(code, 1);
  assert.equal(endpoint.result, "limited");
  assert.match(endpoint.problem, /limit/i);
  const text = await checkOne(t, { url: upstream.url });
  assert.match(text.stdout, /again +in 2 min/);
});

test("what is running there is told, with what it documents where it tells no limit", async (t) => {
  const { url } = await play(t, (request, response, path) => {
    const { authorization, host } = request.headers;
    if (path.startsWith("/token")) return response.end('{"token":"good"}');
    if (authorization === "Bearer good") return response.end("{}");
    const challenge = `Bearer realm="http://${host}/token",service="registry.docker.io"`;
    return response.writeHead(401, { "www-authenticate": challenge }).end();
  });
  const { code, stdout } = await checkOne(t, { url });
  assert.equal(code, 0);
  assert.match(stdout, /registry +Docker Hub, by its answer\n/);
  assert.match(stdout, /blobs +usually come from production\.cloudflare\.docker\.com, /);
  assert.match(stdout, /limit +none told; documented: 100 pulls in 6 h for each address\n/);
  assert.match(stdout, /referrers +yes/);
  const { endpoint } = await reportOf(t, { url, ...login });
  assert.equal(endpoint.family.name, "hub");
  assert.equal(endpoint.family.knownBy, "answer");
  assert.deepEqual(endpoint.accounts[0].documentedLimits, [
    { who: "authenticated", requests: 200, perMs: 21_600_000, counts: "manifests", per: "account" },
  ]);
});

test("a registry that could be anybody's is called nothing, and one of many versions is not said to have referrers", async (t) => {
  const { endpoint } = await reportOf(t, { url: (await registry(t)).url });
  assert.equal(endpoint.family, undefined);
  assert.deepEqual(endpoint.accounts[0].documentedLimits, []);
  const headers = { "docker-distribution-api-version": "registry/2.0" };
  const plain = await play(t, (_, response) => response.writeHead(200, headers).end("{}"));
  const { stdout } = await checkOne(t, { url: plain.url });
  assert.match(stdout, /registry +distribution, by its answer\n/);
  assert.doesNotMatch(stdout, /blobs/);
  assert.match(stdout, /limit +none told\n/);
  assert.match(stdout, /referrers +not known/);
});

test("a private address without allowPrivate is not connected to, and the setting is named", async (t) => {
  const upstream = await registry(t);
  const { code, stdout } = await checkOne(t, { url: upstream.url, allowPrivate: false });
  assert.equal(code, 1);
  assert.match(stdout, /set allowPrivate: true/);
  assert.equal(upstream.requests.length, 0);
});

test("a certificate of no known authority is shown, and the setting that would trust it is named", async (t) => {
  const files = { key: readFileSync(pemPath("server-key")), cert: readFileSync(pemPath("server")) };
  const server = createServer(files, (_, response) => response.end("{}"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const unknown = await reportOf(t, { url });
  assert.equal(unknown.code, 1);
  assert.equal(unknown.endpoint.certificate.trusted, false);
  assert.match(unknown.endpoint.certificate.fault, /SELF_SIGNED/);
  assert.match(unknown.endpoint.problem, /set upstreams\.reg\.test\.tls\.ca/);
  const known = await reportOf(t, { url, tls: { ca: pemPath("server") } });
  assert.equal(known.code, 0);
  assert.equal(known.endpoint.certificate.trusted, true);
  assert.ok(known.endpoint.certificate.daysLeft > 0);
});

test("a clock that is far off is told", async (t) => {
  const yesterday = new Date(Date.now() - 86_400_000).toUTCString();
  const { url } = await play(t, (_, response) => response.writeHead(200, { date: yesterday }).end("{}"));
  const { stdout } = await checkOne(t, { url });
  assert.match(stdout, /clock 24 h behind; one of the two clocks is wrong/);
});

test("a web page, and a server without /v2/, are no registry", async (t) => {
  const page = await play(t, (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<h1>hi"));
  assert.match((await reportOf(t, { url: page.url })).endpoint.problem, /web page; check its url/);
  const other = await play(t, (_, response) => response.writeHead(404).end());
  const { code, endpoint } = await reportOf(t, { url: other.url });
  assert.equal(code, 1);
  assert.match(endpoint.problem, /no registry is there; check upstreams\.reg\.test\.url/);
});

test("a registry's words reach the terminal without control characters", async (t) => {
  const { url } = await play(t, (_, response) => {
    response.writeHead(500, { "content-type": "application/json" });
    response.end(JSON.stringify({ errors: [{ code: "UNKNOWN", message: "\u001b[2Jgone\u0007" }] }));
  });
  const { code, stdout } = await checkOne(t, { url });
  assert.equal(code, 1);
  assert.doesNotMatch(stdout.replaceAll("\n", ""), /\p{Cc}/u);
});

test("faults of the configuration are all told with their lines, and nobody is asked", async (t) => {
  const text = "upstreams:\n  reg.test:\n    ulr: https://x\n    freshness: { tags: soon }\n";
  const config = await fileOf(t, "bad.yaml", text);
  const { code, stdout, stderr } = await say(["check", "--config", config]);
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /bad\.yaml:3: upstreams\.reg\.test\.ulr: unknown key/);
  assert.match(stderr, /bad\.yaml:4: upstreams\.reg\.test\.freshness\.tags/);
});

test("--offline asks nobody, and still reads secrets and certificates", async (t) => {
  const upstream = await registry(t);
  const good = await checkOne(t, { url: upstream.url, ...login }, "--offline");
  assert.equal(good.code, 0);
  assert.match(good.stdout, /the configuration is good: reg\.test; nobody was asked/);
  const garbage = await fileOf(t, "ca.pem", "no PEM\n");
  const bad = await checkOne(
    t,
    { url: upstream.url, tls: { ca: garbage }, credentials: [{ username: "robot", passwordEnv: "NOT_SET_ANYWHERE" }] },
    "--offline",
  );
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /credentials\.0\.passwordEnv: the environment variable that it names is not set/);
  const certificate = await checkOne(t, { url: upstream.url, tls: { ca: garbage } }, "--offline");
  assert.equal(certificate.code, 2);
  assert.match(certificate.stderr, /ca\.pem is no certificate/);
  const own = await configOf(t, { "reg.test": {} }, { tls: { cert: garbage, key: garbage } });
  assert.equal((await say(["check", "--offline", "--config", own])).code, 2);
  assert.equal(upstream.requests.length, 0);
});

test("a proxy of the environment is named, and asked", async (t) => {
  // An address for documentation, which nobody has (RFC 5737); loopback never goes by a proxy.
  const config = await configOf(t, { "reg.test": { url: "http://192.0.2.1:5000", allowPrivate: true } });
  const { code, stdout } = await say(["check", "--config", config], { HTTP_PROXY: "http://127.0.0.1:1" });
  assert.equal(code, 1);
  assert.match(stdout, /by way of the proxy 127\.0\.0\.1:1/);
  assert.match(stdout, /problem +.*proxy/);
  const bad = await say(["check", "--offline", "--config", config], { HTTP_PROXY: "socks5://user:hidden@x" });
  assert.equal(bad.code, 2);
  assert.match(bad.stderr, /HTTP_PROXY/);
  assert.doesNotMatch(bad.stderr, /hidden/);
});

test("each of several accounts has its line, with what it is for; a helper that is missing costs its own alone", async (t) => {
  const upstream = await registry(t, { auth: { mode: "basic", username: "robot", password: PASSWORD } });
  const credentials = [
    { username: "robot", password: PASSWORD, repositories: ["team/*"] },
    { helper: "there-is-no-such-helper" },
  ];
  const { code, stdout } = await checkOne(t, { url: upstream.url, credentials });
  assert.notEqual(code, 0);
  assert.match(stdout, /account +robot \(basic\): accepted, for team\/\*/);
  assert.match(stdout, /\(helper\): could not be tried[\s\S]*problem +.*docker-credential-there-is-no-such-helper/);
});

test("the JSON has a format, and fields that scripts can rely on", async (t) => {
  const upstream = await registry(t);
  const { report } = await reportOf(t, { url: upstream.url });
  assert.deepEqual(Object.keys(report), ["format", "version", "config", "result", "offline", "upstreams"]);
  assert.equal(report.format, "wharfinger-check/1");
  assert.deepEqual(Object.keys(report.upstreams[0]), ["upstream", "result", "referrers", "endpoints"]);
  const file = await fileOf(t, "out.json", "");
  const { stdout } = await checkOne(t, { url: upstream.url }, "--json", file);
  assert.match(stdout, /reg\.test {2}ok/);
  assert.equal(JSON.parse(readFileSync(file, "utf8")).result, "ok");
});

for (const args of [
  ["what"],
  ["--repository", "UPPER"],
  ["--upstream", "a/b"],
  ["--upstream", "a", "--upstream", "b"],
]) {
  test(`bad usage is exit code 2: check ${args.join(" ")}`, async () => {
    const { code, stderr } = await say(["check", ...args]);
    assert.equal(code, 2);
    assert.notEqual(stderr, "");
  });
}

test("check --help has examples", async () => {
  const { code, stdout } = await say(["check", "--help"]);
  assert.equal(code, 0);
  assert.match(stdout, /Examples:[\s\S]*check --offline/);
});
