/** What is said of the files by which daemons are told of a mirror. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import { lookAtDaemons } from "../../../src/cli/doctor/daemons.ts";
import { Files } from "../../../src/cli/doctor/files.ts";
import { makeTempDir } from "../../kit/temp.ts";

async function look(t: TestContext, files: Readonly<Record<string, string>>, url = "http://mirror.example:5000") {
  const dir = await makeTempDir("root");
  t.after(() => dir[Symbol.asyncDispose]());
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir.path, path)), { recursive: true });
    writeFileSync(join(dir.path, path), text);
  }
  return lookAtDaemons(new Files(dir.path), new URL(url), () => undefined).filter(({ state }) => state !== "skipped");
}

const DAEMON = "etc/docker/daemon.json";
const HOSTS = "etc/containerd/certs.d/docker.io/hosts.toml";
const PODMAN = "etc/containers/registries.conf.d/mirror.conf";
const BUILDKIT = "etc/buildkit/buildkitd.toml";
const K3S = "etc/rancher/k3s/registries.yaml";
const M = "mirror.example:5000";

/** File, its text, what is expected of the first finding, and the mirror's URL where it is another. */
const CASES: readonly (readonly [string, string, "ok" | "warn" | "fail", RegExp, string?])[] = [
  [DAEMON, `{"registry-mirrors":["http://${M}/"],"insecure-registries":["${M}"]}`, "ok", /names the mirror/],
  [DAEMON, `{"registry-mirrors":["http://${M}"],"insecure-registries":["10.0.0.0/8"]}`, "ok", /names the mirror/],
  [DAEMON, `{"registry-mirrors":["http://${M}"]}`, "warn", /plain HTTP, and not in "insecure-registries"/],
  [DAEMON, '{"registry-mirrors":["http://localhost:5000"]}', "ok", /names/, "http://127.0.0.1:5000"],
  [DAEMON, `{"registry-mirrors":["https://${M}"]}`, "fail", /says https:\/\/, but the mirror is at http:\/\//],
  [DAEMON, `{"registry-mirrors":["${M}"]}`, "fail", /without http:\/\//],
  [DAEMON, `{"registry-mirrors":["https://${M}/docker.io"]}`, "ok", /names/, `https://${M}`],
  [DAEMON, `{"registry-mirrors":["https://${M}/ghcr.io"]}`, "fail", /asks for ghcr\.io/, `https://${M}`],
  [DAEMON, `{"insecure-registries":["${M}"]}`, "warn", /not in "registry-mirrors"/],
  [DAEMON, `{"registry-mirrors":"http://${M}"}`, "fail", /"registry-mirrors" that is no list/],
  [DAEMON, `{\n // the mirror\n"registry-mirrors":["http://${M}"]}`, "fail", /no JSON.*JSON has no comments/],
  [DAEMON, `\uFEFF{"registry-mirrors":["http://${M}"]}`, "warn", /byte order mark/],
  [HOSTS, `server = "https://x"\n[host."http://${M}"]\n  capabilities = ["pull", "resolve"]\n`, "ok", /for docker\.io/],
  [HOSTS, `[host."http://${M}"]\n`, "ok", /for docker\.io/],
  [HOSTS, `[host."http://${M}"]\n  capabilities = [\n  "pull", # no "resolve"\n ]\n`, "warn", /lacks "resolve"$/],
  [HOSTS, `[host."http://${M}/docker.io"]\n capabilities = ["pull","resolve"]\n`, "ok", /names/],
  [HOSTS, `[host."http://${M}/v2/docker.io"]\n override_path = true\n`, "ok", /names/],
  [HOSTS, `[host."http://${M}"]\n override_path = true\n`, "fail", /no form of request is understood/],
  [HOSTS, `[host."http://${M}/ghcr.io"]\n capabilities = ["pull","resolve"]\n`, "fail", /asks for ghcr\.io/],
  [HOSTS, `[host."http://${M}/a/b/c"]\n capabilities = ["pull","resolve"]\n`, "fail", /no form/],
  [HOSTS, `[host."https://${M}"]\n capabilities = ["pull","resolve"]\n`, "fail", /says https/],
  [HOSTS, `[host."https://${M}"]\n skip_verify = true\n`, "warn", /skip_verify/, `https://${M}`],
  [HOSTS, `server = "http://${M}"\n`, "ok", /only server/],
  [HOSTS, `# [host."http://${M}"]\n`, "warn", /in no \[host/],
  [HOSTS, `[host."http://${M}"]\n  capabilities = ["pull"\n`, "fail", /hosts\.toml:\d+ is no TOML/],
  [HOSTS, `[host]\n"http://${M}" = { capabilities = ["pull", "resolve"] }\n`, "ok", /for docker\.io/],
  [HOSTS.replace("docker.io", "_default"), `[host."http://${M}"]\n`, "ok", /every registry/],
  [HOSTS.replace("docker.io", "reg.test_5000_"), `[host."http://${M}/reg.test:5000"]\n`, "ok", /for reg\.test:5000/],
  ["etc/docker/certs.d/docker.io/hosts.toml", `[host."http://${M}"]\n`, "ok", /docker\/certs\.d/],
  [
    PODMAN,
    `[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "${M}/docker.io"\ninsecure = true\n`,
    "ok",
    /for docker\.io/,
  ],
  [
    PODMAN,
    `[[registry]]\nlocation = "ghcr.io"\n[[registry.mirror]]\nlocation = "${M}/ghcr.io"\n`,
    "fail",
    /without insecure = true/,
  ],
  [
    PODMAN,
    `[[registry]]\nlocation = "ghcr.io"\n[[registry.mirror]]\nlocation = "${M}"\ninsecure = true\n`,
    "fail",
    /asks for ghcr\.io's images without naming ghcr\.io/,
  ],
  [
    PODMAN,
    `[[registry]]\nlocation = "ghcr.io"\n[[registry.mirror]]\nlocation = "http://${M}/ghcr.io"\ninsecure = true\n`,
    "fail",
    /says http:\/\//,
  ],
  [PODMAN, `unqualified-search-registries = ["${M}"]\n`, "warn", /as no \[\[registry\.mirror\]\]/],
  [PODMAN, `[[registry]\nlocation = "ghcr.io"\n`, "fail", /mirror\.conf:1 is no TOML/],
  [BUILDKIT, `[registry."docker.io"]\n mirrors = ["${M}"\n`, "fail", /buildkitd\.toml:\d+ is no TOML/],
  [BUILDKIT, `[registry."docker.io"]\n mirrors = ["${M}"]\n[registry."${M}"]\n http = true\n`, "ok", /for docker\.io/],
  [BUILDKIT, `[registry."docker.io"]\n mirrors = ["${M}"]\n`, "fail", /without http = true/],
  [BUILDKIT, `[registry."${M}"]\n http = true\n`, "warn", /among no registry's mirrors/],
  [K3S, `mirrors:\n  docker.io:\n    endpoint: ["http://${M}"]\n`, "ok", /for docker\.io/],
  [K3S, `mirrors:\n  "*":\n    endpoint:\n      - http://${M}/v2\n`, "ok", /every registry/],
  [K3S, `mirrors:\n  docker.io:\n    endpoint: ["http://${M}/docker.io"]\n`, "fail", /no form/],
  [K3S, `mirrors: [\n`, "fail", /is no YAML/],
  [K3S, `configs:\n  "${M}": {}\n`, "warn", /no mirror's endpoint/],
];

for (const [file, text, state, says, url] of CASES) {
  test(`${file}: ${state} for ${JSON.stringify(text)}`, async (t) => {
    const [first] = await look(t, { [file]: text }, url);
    assert.match(first?.says ?? "", says);
    assert.equal(first?.state, state);
    assert.equal(first?.next !== undefined, state !== "ok");
  });
}

test("CRI's config_path is asked for where a hosts.toml names the mirror, and the old way of naming it is told", async (t) => {
  const hosts = { [HOSTS]: `[host."http://${M}"]\n` };
  const config = (text: string) => ({ ...hosts, "etc/containerd/config.toml": text });
  const v2 = '[plugins."io.containerd.grpc.v1.cri".registry]\n';
  const [, good] = await look(t, config(`${v2}config_path = "/etc/containerd/certs.d"\n`));
  assert.equal(good?.state, "ok");
  const [, both] = await look(t, config(`${v2}config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"\n`));
  assert.equal(both?.state, "ok");
  const [, missing] = await look(t, config("version = 3\n"));
  assert.equal(missing?.state, "warn");
  assert.match(missing?.next ?? "", /config_path = "\/etc\/containerd\/certs\.d"/);
  const [, broken] = await look(t, config("[plugins\n"));
  assert.equal(broken?.state, "fail");
  assert.match(broken?.says ?? "", /config\.toml:1 is no TOML/);
  const old = `[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]\nendpoint = ["http://${M}"]\n`;
  const [alone] = await look(t, { "etc/containerd/config.toml": old });
  assert.equal(alone?.state, "warn");
  assert.match(alone?.says ?? "", /registry\.mirrors, which containerd 2 no longer reads/);
});

test("files that cannot be read, are too large, or are directories are told or passed over, and never thrown", async (t) => {
  const found = await look(t, {
    [`${DAEMON}/a-directory`]: "",
    [HOSTS]: "x".repeat(1024 * 1024 + 1),
  });
  assert.deepEqual(
    found.map(({ check, state }) => [check, state]),
    [
      ["docker", "warn"],
      ["containerd", "warn"],
    ],
  );
});

test("an endpoint of k3s without a scheme is one over TLS", async (t) => {
  const text = `mirrors:\n  docker.io:\n    endpoint: ["${M}"]\n`;
  const [plain] = await look(t, { [K3S]: text });
  assert.equal(plain?.state, "fail");
  assert.match(plain?.says ?? "", /means https:\/\//);
  const [secure] = await look(t, { [K3S]: text }, `https://${M}`);
  assert.equal(secure?.state, "ok");
});

test("where daemon.json exists the advice is to add to it", async (t) => {
  const [finding] = await look(t, { [DAEMON]: `{"insecure-registries":["${M}"]}` });
  assert.match(finding?.next ?? "", /^add "http:\/\/mirror\.example:5000" to "registry-mirrors" in /);
  const [none] = await look(t, { [DAEMON]: "{}" });
  assert.match(none?.next ?? "", /^add "http/);
});
