/** `wharfinger doctor`: what it finds of a mirror from outside, and its exit codes. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { pemPath } from "../kit/mode.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { play } from "../upstream/scene.ts";
import { fileOf, say } from "./stage.ts";

interface Told {
  readonly check: string;
  readonly state: string;
  readonly says: string;
  readonly next?: string;
}

/** A directory with files of a machine below it. */
async function rootWith(t: TestContext, files: Readonly<Record<string, string>> = {}): Promise<string> {
  const dir = await makeTempDir("root");
  t.after(() => dir[Symbol.asyncDispose]());
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir.path, path)), { recursive: true });
    writeFileSync(join(dir.path, path), text);
  }
  return dir.path;
}

/** What the doctor says as JSON, by check; a check that comes several times is the last. */
async function examine(t: TestContext, args: readonly string[], files: Readonly<Record<string, string>> = {}) {
  const root = await rootWith(t, files);
  const said = await say(["doctor", "--root", root, "--json", "-", ...args]);
  assert.equal(said.stderr, "");
  const report = JSON.parse(said.stdout);
  const findings: readonly Told[] = report.findings;
  for (const one of findings) {
    assert.equal(one.next !== undefined, one.state === "warn" || one.state === "fail", `${one.check}: ${one.says}`);
    assert.doesNotMatch(one.says, /\n/);
  }
  return { code: said.code, report, by: new Map(findings.map((one) => [one.check, one])), findings };
}

async function mirrored(t: TestContext, config: Readonly<Record<string, unknown>> = {}) {
  const upstream = await TestUpstream.start();
  t.after(() => upstream.close());
  upstream.shelves.add("library/app", makeImage(), "1");
  const upstreams = { "docker.io": upstream, "ghcr.io": upstream };
  const mirror = await TestMirror.start({ upstreams, config: { tls: undefined, workers: 1, ...config } });
  t.after(() => mirror[Symbol.asyncDispose]());
  return { mirror, upstream };
}

test("a mirror that is well, and is named by this machine's Docker, is exit code 0; no upstream is asked", async (t) => {
  const { mirror, upstream } = await mirrored(t);
  const files = { "etc/docker/daemon.json": JSON.stringify({ "registry-mirrors": [mirror.url] }) };
  const { code, by, report } = await examine(t, [mirror.url, "--admin", mirror.adminUrl], files);
  assert.equal(code, 0, JSON.stringify(report));
  assert.deepEqual(Object.keys(report), ["format", "version", "url", "well", "findings"]);
  assert.equal(report.format, "wharfinger-doctor/1");
  for (const check of ["reachable", "wharfinger", "clock", "?ns=<registry>", "/<registry>/v2/", "ready", "docker"]) {
    assert.equal(by.get(check)?.state, "ok", check);
  }
  assert.match(by.get("?ns=<registry>")?.says ?? "", /answers for docker\.io, ghcr\.io; not for quay\.io/);
  assert.equal(by.get("default")?.state, "skipped");
  assert.equal(upstream.requests.length, 0);
});

test("an image is tried in every form by HEAD, which costs no pull", async (t) => {
  const { mirror, upstream } = await mirrored(t);
  const { code, by } = await examine(t, [mirror.url, "--image", "docker.io/library/app:1"]);
  assert.equal(code, 0);
  for (const form of ["?ns=<registry>", "/<registry>/v2/", "/v2/<registry>/…", "default"]) {
    assert.equal(by.get(form)?.state, "ok", form);
  }
  assert.match(by.get("?ns=<registry>")?.says ?? "", /^sha256:.*containerd.*wharfinger; /);
  assert.equal(upstream.count({ method: "GET", kind: "manifest" }), 0);
  const absent = await examine(t, [mirror.url, "--image", "docker.io/library/nothing:1"]);
  assert.equal(absent.code, 1);
  assert.match(absent.by.get("?ns=<registry>")?.says ?? "", /is answered 404/);
  const foreign = await examine(t, [mirror.url, "--image", "other.example/a/b:1"]);
  assert.equal(foreign.by.get("?ns=<registry>")?.state, "fail");
  assert.match(foreign.by.get("?ns=<registry>")?.next ?? "", /other\.example among the mirror's upstreams/);
});

test("a mirror whose default is another registry is told, for dockerd names none", async (t) => {
  const { upstream } = await mirrored(t);
  const other = await TestUpstream.start();
  t.after(() => other.close());
  const upstreams = { "ghcr.io": other, "docker.io": upstream };
  const mirror = await TestMirror.start({ upstreams, config: { tls: undefined, workers: 1 } });
  t.after(() => mirror[Symbol.asyncDispose]());
  const { by, code } = await examine(t, [mirror.url, "--image", "docker.io/library/app:1"]);
  assert.equal(by.get("/v2/<registry>/…")?.state, "ok");
  assert.equal(by.get("default")?.state, "warn");
  assert.match(by.get("default")?.next ?? "", /defaultUpstream: docker\.io/);
  assert.equal(code, 0);
});

test("a mirror that leads back to itself is told as a loop", async (t) => {
  const { url: free } = await play(t, () => {});
  const first = await TestMirror.start({ upstreams: { "docker.io": free }, config: { tls: undefined, workers: 1 } });
  await first[Symbol.asyncDispose]();
  const listen = new URL(first.url).host;
  const config = { listen, tls: undefined, workers: 1 };
  const loop = await TestMirror.start({ upstreams: { "docker.io": first.url }, config });
  t.after(() => loop[Symbol.asyncDispose]());
  const { code, by } = await examine(t, [loop.url, "--image", "docker.io/library/app:1"]);
  assert.equal(code, 1);
  assert.match(by.get("?ns=<registry>")?.next ?? "", /leads back to the mirror/);
});

test("an upstream that refuses and one whose limit is used up are told apart, each with its next step", async (t) => {
  const { mirror, upstream } = await mirrored(t);
  upstream.fault({ kind: "manifest" }, { status: 429, retryAfter: "60" });
  const limited = await examine(t, [mirror.url, "--image", "docker.io/library/app:1"]);
  assert.equal(limited.code, 1);
  assert.match(limited.by.get("?ns=<registry>")?.next ?? "", /the limit at docker\.io is used up/);
  upstream.clearFaults();
  await upstream.close();
  const gone = await examine(t, [mirror.url, "--image", "ghcr.io/library/app:1"]);
  assert.match(gone.by.get("?ns=<registry>")?.next ?? "", /wharfinger check --upstream ghcr\.io/);
});

test("nothing that listens, a server that is no mirror, and a path that is not served all fail", async (t) => {
  const { url: gone } = await play(t, () => {});
  const dead = new URL(gone);
  dead.port = "1";
  const nobody = await examine(t, [dead.href]);
  assert.equal(nobody.code, 1);
  assert.equal(nobody.by.get("reachable")?.state, "fail");
  assert.match(nobody.by.get("reachable")?.next ?? "", /curl -v http:\/\/127\.0\.0\.1:1\/v2\//);
  const { url } = await play(t, (_, response) => response.writeHead(200, { server: "nginx" }).end("hello"));
  const other = await examine(t, [url]);
  assert.equal(other.code, 1);
  assert.match(other.by.get("wharfinger")?.says ?? "", /no wharfinger.*says it is nginx/);
  assert.equal(other.by.get("forms")?.state, "skipped");
  const { mirror } = await mirrored(t);
  const path = await examine(t, [`${mirror.url}/quay.io`]);
  assert.equal(path.by.get("path")?.state, "fail");
  assert.match(path.by.get("path")?.says ?? "", /\/quay\.io\/v2\/ is not served/);
});

for (const [offMs, state] of [
  [0, "ok"],
  [-60_000, "warn"],
  [86_400_000, "fail"],
  [-86_400_000, "fail"],
] as const) {
  test(`a clock that is ${offMs / 1000} s off: ${state}`, async (t) => {
    const { url } = await play(t, (_, response) => {
      const date = new Date(Date.now() + offMs).toUTCString();
      response.writeHead(200, { via: "1.1 wharfinger", date }).end("{}");
    });
    const { code, by } = await examine(t, [url]);
    assert.equal(by.get("clock")?.state, state);
    assert.equal(code, state === "fail" ? 1 : 0);
  });
}

test("a certificate is judged by this machine's store, by --ca, by what Docker is told, and by its end", async (t) => {
  const serving = async (name: string) => {
    const files = { key: readFileSync(pemPath(`${name}-key`)), cert: readFileSync(pemPath(name)) };
    const server = createServer(files, (_, response) => response.writeHead(200, { via: "1.1 wharfinger" }).end("{}"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    t.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return (server.address() as AddressInfo).port;
  };
  const port = await serving("server");
  const url = `https://127.0.0.1:${port}`;
  const unknown = await examine(t, [url]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.by.get("certificate")?.says ?? "", /does not trust it \(DEPTH_ZERO_SELF_SIGNED_CERT\)/);
  assert.match(unknown.by.get("certificate")?.next ?? "", new RegExp(`certs\\.d/127\\.0\\.0\\.1:${port}/ca\\.crt`));
  assert.equal(unknown.by.get("wharfinger")?.state, "ok", "the other checks are made all the same");
  const known = await examine(t, [url, "--ca", pemPath("server")]);
  assert.equal(known.by.get("certificate")?.state, "ok");
  const told = { [`etc/docker/certs.d/127.0.0.1:${port}/ca.crt`]: readFileSync(pemPath("server"), "utf8") };
  const docker = await examine(t, [url], told);
  assert.equal(docker.by.get("certificate")?.state, "warn");
  assert.equal(docker.code, 0);
  const expired = await examine(t, [`https://127.0.0.1:${await serving("expired")}`]);
  assert.match(expired.by.get("certificate")?.says ?? "", /expired on 2021/);
  const other = await examine(t, [`https://127.0.0.1:${await serving("one")}`]);
  assert.match(other.by.get("certificate")?.says ?? "", /is not for 127\.0\.0\.1/);
  const plain = await examine(t, [`http://127.0.0.1:${port}`]);
  assert.equal(plain.code, 1);
});

test("with the mirror's configuration its disk is looked at", async (t) => {
  const { mirror } = await mirrored(t);
  const at = async (cache: Readonly<Record<string, unknown>>) => {
    const config = await fileOf(
      t,
      "config.yaml",
      JSON.stringify({ cache, upstreams: { "ghcr.io": {} }, defaultUpstream: "ghcr.io" }),
    );
    return await examine(t, [mirror.url, "--config", config]);
  };
  const dir = join(mirror.dir, "not", "there", "yet");
  const good = await at({ dir, maxSize: "1MiB", minFree: "1MiB" });
  assert.ok(["ok", "warn"].includes(good.by.get("disk")?.state ?? ""), "warn where the tests' directory is on tmpfs");
  assert.equal(good.code, 0);
  assert.match(good.by.get("?ns=<registry>")?.says ?? "", /^answers for ghcr\.io$/);
  const full = await at({ dir, maxSize: "1MiB", minFree: "900TiB" });
  assert.equal(full.code, 1);
  assert.ok(full.findings.some(({ says }) => says.includes("less than cache.minFree")));
  const file = await fileOf(t, "file", "");
  const wrong = await at({ dir: file });
  assert.match(wrong.by.get("disk")?.says ?? "", /is no directory/);
  const locked = await rootWith(t);
  chmodSync(locked, 0o500);
  const refused = await at({ dir: locked });
  // Whoever runs tests as root may write everywhere.
  assert.equal(refused.by.get("disk")?.state === "fail", process.getuid?.() !== 0);
});

test("the admin API's word counts: not ready fails, not to be reached warns", async (t) => {
  const { mirror } = await mirrored(t);
  const { url } = await play(t, (_, response) =>
    response.writeHead(503).end('{"status":"unready","reason":"starting"}'),
  );
  const unready = await examine(t, [mirror.url, "--admin", url]);
  assert.equal(unready.by.get("ready")?.state, "fail");
  assert.match(unready.by.get("ready")?.says ?? "", /503: starting/);
  const closed = await examine(t, [mirror.url, "--admin", "http://127.0.0.1:1"]);
  assert.equal(closed.by.get("ready")?.state, "warn");
  assert.equal(closed.code, 0);
});

test("a mirror whose disk is in trouble serves: that warns, and says what to do", async (t) => {
  const { mirror } = await mirrored(t);
  const reason = "the disk is full: nothing new is stored";
  const { url } = await play(t, (_, response) =>
    response.writeHead(200).end(JSON.stringify({ status: "degraded", reason, advice: "free space" })),
  );
  const { by, code } = await examine(t, [mirror.url, "--admin", url]);
  const { state, says, next } = by.get("ready") ?? {};
  assert.deepEqual({ state, says, next }, { state: "warn", says: `it serves, but ${reason}`, next: "free space" });
  assert.equal(code, 0);
});

test("where nobody is told of the mirror, what to put where is said", async (t) => {
  const { mirror } = await mirrored(t);
  const root = await rootWith(t);
  const { code, stdout } = await say(["doctor", mirror.url, "--root", root]);
  assert.equal(code, 0);
  assert.match(stdout, /^ok {7}reachable +http:\/\/127\.0\.0\.1:\d+ answers 200 in \d+ ms\n/);
  assert.match(stdout, /warn {5}daemons +none of this machine's daemons is told of/);
  assert.ok(stdout.includes(`{ "registry-mirrors": ["${mirror.url}"] }`), stdout);
  assert.match(stdout, /: \d+ ok, 1 warn, \d+ skipped\n$/);
  const quiet = await say(["doctor", mirror.url, "--root", root, "--quiet"]);
  assert.match(quiet.stdout, /^warn/);
});

test("the program run as users run it looks, prints and exits by itself; --json may stand before the URL", async (t) => {
  const { mirror } = await mirrored(t);
  const root = await rootWith(t);
  const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
  const args = [main, "doctor", "--root", root, "--json", mirror.url];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => {
    text += part;
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  assert.equal(code, 0);
  assert.equal(JSON.parse(text).well, true);
});

for (const args of [
  [],
  ["ftp://x"],
  ["http://x", "--image", "UPPER"],
  ["http://x", "y"],
  ["http://x", "--ca", "/no"],
]) {
  test(`bad usage is exit code 2: doctor ${args.join(" ")}`, async () => {
    const { code, stderr } = await say(["doctor", ...args]);
    assert.equal(code, 2);
    assert.match(stderr, /--help says what can be given/);
  });
}

test("a faulty configuration is told with its lines, exit code 2", async (t) => {
  const config = await fileOf(t, "bad.yaml", "lissen: x\n");
  const { code, stderr } = await say(["doctor", "http://127.0.0.1:1", "--config", config]);
  assert.equal(code, 2);
  assert.match(stderr, /bad\.yaml:1: lissen: unknown key/);
});

test("doctor --help has examples", async () => {
  const { code, stdout } = await say(["doctor", "--help"]);
  assert.equal(code, 0);
  assert.match(stdout, /Examples:[\s\S]*doctor http:\/\/mirror\.example:5000 /);
});

test("a daemon that is told of the mirror for a registry that it does not have is a failure", async (t) => {
  const { mirror } = await mirrored(t);
  const { host } = new URL(mirror.url);
  const files = {
    "etc/docker/daemon.json": JSON.stringify({ "registry-mirrors": [mirror.url] }),
    "etc/containerd/certs.d/quay.io/hosts.toml": `[host."${mirror.url}"]\n`,
    "etc/containers/registries.conf": `[[registry]]\nprefix = "quay.io"\nlocation = "quay.io"\n[[registry.mirror]]\nlocation = "${host}/quay.io"\ninsecure = true\n`,
    "etc/buildkit/buildkitd.toml": `[registry."quay.io"]\n  mirrors = ["${host}"]\n`,
    "etc/rancher/k3s/registries.yaml": `mirrors:\n  quay.io:\n    endpoint: ["${mirror.url}"]\n`,
  };
  const { code, by } = await examine(t, [mirror.url], files);
  assert.equal(code, 1);
  assert.equal(by.get("docker")?.state, "ok");
  for (const check of ["containerd", "podman", "buildkit", "k3s"]) {
    assert.equal(by.get(check)?.state, "fail", check);
    assert.match(by.get(check)?.says ?? "", /for quay\.io, which the mirror does not have/, check);
  }
});

test("a mirror without Docker Hub: dockerd has no use for it, and nobody is warned of the forms", async (t) => {
  const upstream = await TestUpstream.start();
  t.after(() => upstream.close());
  const mirror = await TestMirror.start({
    upstreams: { "own.test": upstream },
    config: { tls: undefined, workers: 1 },
  });
  t.after(() => mirror[Symbol.asyncDispose]());
  const files = { "etc/containerd/certs.d/own.test/hosts.toml": `[host."${mirror.url}"]\n` };
  const well = await examine(t, [mirror.url], files);
  assert.equal(well.code, 0);
  assert.deepEqual(
    well.findings.filter(({ state }) => state === "warn"),
    [],
  );
  const docker = { "etc/docker/daemon.json": JSON.stringify({ "registry-mirrors": [mirror.url] }) };
  const { by } = await examine(t, [mirror.url], docker);
  assert.equal(by.get("docker")?.state, "fail");
  const none = await examine(t, [mirror.url]);
  assert.doesNotMatch(none.by.get("daemons")?.next ?? "", /daemon\.json/);
});

test("where there is no mirror, nobody is told to use it", async (t) => {
  const { url } = await play(t, (_, response) => response.end());
  const { by } = await examine(t, [url]);
  assert.equal(by.get("daemons")?.state, "skipped");
});

test("the default is said of the configuration, and what is known without it", async (t) => {
  const { mirror, upstream } = await mirrored(t);
  const image = ["--image", "ghcr.io/library/app:1"];
  const known = await examine(t, [mirror.url, ...image]);
  assert.match(known.by.get("default")?.says ?? "", /the same image comes.*--config would tell/);
  const upstreams = { "docker.io": { url: upstream.url }, "ghcr.io": { url: upstream.url } };
  const dir = await rootWith(t);
  const config = await fileOf(t, "config.yaml", JSON.stringify({ upstreams, cache: { dir } }));
  const { by } = await examine(t, [mirror.url, ...image, "--config", config]);
  assert.match(by.get("default")?.says ?? "", /ghcr\.io is not what is meant/);
});

test("a directory that is not there, and an admin address that is the registry's, are told", async (t) => {
  assert.equal((await say(["doctor", "http://127.0.0.1:1", "--root", "/nonexistent"])).code, 2);
  const { mirror } = await mirrored(t);
  const { by } = await examine(t, [mirror.url, "--admin", mirror.url]);
  assert.match(by.get("ready")?.says ?? "", /that is where the registry is/);
  assert.match(by.get("ready")?.next ?? "", /admin\.listen/);
});
