/** What can be said about the listener's TLS, and what does not go together. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ConfigFaults } from "../../src/config/faults.ts";
import { loadConfig } from "../../src/config/load.ts";
import { servesTls } from "../../src/config/schema.ts";

const directory = mkdtempSync(join(tmpdir(), "wharfinger-tls-"));
after(() => rmSync(directory, { recursive: true }));
const file = join(directory, "config.yaml");
for (const name of ["a", "b", "c"]) writeFileSync(join(directory, name), "x");

function load(tls: string, env: Record<string, string> = {}) {
  writeFileSync(file, `tls: ${tls}\n`);
  return loadConfig({ file, env, cwd: directory }).tls;
}

function faultsOf(tls: string): string[] {
  try {
    load(tls);
    return [];
  } catch (error) {
    assert.ok(error instanceof ConfigFaults);
    return error.faults.map(({ path, message }) => `${path}: ${message}`);
  }
}

test("nothing said is plain HTTP; a certificate and its key, or a list of them, are TLS", () => {
  for (const none of ["null", "{}", "{cert: null, certificates: []}"]) assert.equal(servesTls(load(none)), false, none);
  const one = load("{cert: a, key: b}");
  assert.equal(servesTls(one), true);
  assert.equal(one.cert, join(directory, "a"));
  const many = load("{certificates: [{cert: a, key: b}, {cert: b, key: c}]}");
  assert.equal(servesTls(many), true);
  assert.deepEqual(many.certificates[1], { cert: join(directory, "b"), key: join(directory, "c") });
  const env = { WHARFINGER_TLS_CERT: "a", WHARFINGER_TLS_KEY: "b", WHARFINGER_TLS_CLIENT_CA: "c" };
  assert.equal(load("null", { ...env, WHARFINGER_TLS_CLIENT_AUTH: "optional" }).clientAuth, "optional");
});

test("what does not go together, or is not there, is said with its place", () => {
  for (const [tls, fault] of [
    ["{cert: a}", /^tls\.cert: cert and key go together; key is missing/],
    ["{key: a}", /^tls\.key: cert and key go together; cert is missing/],
    ["{cert: gone, key: a}", /^tls\.cert: no such file/],
    ["{certificates: [{cert: a}]}", /^tls\.certificates\S*cert: cert and key go together/],
    ["{certificates: [{}]}", /^tls\.certificates\S*: expected cert and key/],
    ["{certificates: a}", /^tls\.certificates: expected a list/],
    ["{clientCa: a}", /^tls\.clientCa: needs cert and key/],
    ["{cert: a, key: b, clientAuth: required}", /^tls\.clientAuth: needs clientCa/],
    ["{cert: a, key: b, clientCa: c, clientAuth: maybe}", /^tls\.clientAuth: expected optional or required/],
    ["{cert: a, key: b, ca: c}", /^tls\.ca: unknown key/],
    ["a", /^tls: expected keys and values/],
  ] as const) {
    const faults = faultsOf(tls);
    assert.ok(
      faults.some((text) => fault.test(text)),
      `${tls}: ${faults}`,
    );
  }
});
