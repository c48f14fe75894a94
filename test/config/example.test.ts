/** The example file is what the schema says, and a configuration that loads. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { exampleConfig } from "../../src/config/example.ts";
import { listLeaves } from "../../src/config/leaves.ts";
import { loadConfig } from "../../src/config/load.ts";

const committed = fileURLToPath(new URL("../../config.example.yaml", import.meta.url));

test("config.example.yaml is what the schema says; `npm run example` writes it", () => {
  assert.equal(readFileSync(committed, "utf8"), exampleConfig());
});

test("the example loads, and changes nothing", () => {
  const cwd = fileURLToPath(new URL("../..", import.meta.url));
  assert.deepEqual(loadConfig({ file: committed, env: {}, flags: {} }), loadConfig({ env: {}, flags: {}, cwd }));
});

test("the example's upstreams load once they are no comments", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "wharfinger-example-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const [, upstreams = ""] = exampleConfig().split("#\n# upstreams:");
  const yaml = `upstreams:${upstreams.replaceAll("\n# ", "\n")}`
    .replaceAll("/run/secrets/ghcr", "here")
    .replaceAll(/: [\w-]+\.pem/g, ": here");
  const file = join(directory, "config.yaml");
  writeFileSync(file, yaml);
  writeFileSync(join(directory, "here"), "x");
  const config = loadConfig({ file, env: { REGISTRY_PASSWORD: "x" }, flags: {} });
  assert.deepEqual(Object.keys(config.upstreams), ["docker.io", "ghcr.io", "registry.example.com"]);
  assert.equal(config.upstreams["registry.example.com"]?.credentials[0]?.type, "basic");
});

test("scalar keys outside upstreams have a flag, a variable, a default and a doc line", () => {
  const leaves = listLeaves();
  const size = leaves.find(({ flag }) => flag === "cache-max-size");
  assert.deepEqual(size?.path, ["cache", "maxSize"]);
  assert.equal(size?.env, "WHARFINGER_CACHE_MAX_SIZE");
  assert.equal(size?.default, "50GiB");
  assert.ok(leaves.every(({ doc }) => doc.length > 10));
  assert.deepEqual(
    leaves.map(({ flag }) => flag),
    [
      "listen",
      "tls-cert",
      "tls-key",
      "tls-client-ca",
      "tls-client-auth",
      "admin-listen",
      "cache-dir",
      "cache-max-size",
      "cache-min-free",
      "cache-high-watermark",
      "cache-low-watermark",
      "cache-scrub-schedule",
      "cache-scrub-bandwidth",
      "default-upstream",
      "offline",
      "workers",
      "sendfile",
      "drain-timeout",
      "log-level",
      "log-format",
    ],
  );
});
