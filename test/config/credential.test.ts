/** Credentials in the configuration: one form for each item, all of them, and every fault with its place. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { findEcrHost } from "../../src/config/ecr-host.ts";
import { ConfigFaults, faultText } from "../../src/config/faults.ts";
import { loadConfig } from "../../src/config/load.ts";
import type { Credential } from "../../src/config/schema.ts";

const directory = mkdtempSync(join(tmpdir(), "wharfinger-credentials-"));
after(() => rmSync(directory, { recursive: true }));
const file = join(directory, "config.yaml");
for (const name of ["secret", "config.json", "key.json"]) writeFileSync(join(directory, name), "x");

/** @param items each an item of the list, on a line of its own from line 5 */
function load(items: readonly string[], registry = "registry.example.com", more = ""): readonly Credential[] {
  const lines = ["defaultUpstream: docker.io", "upstreams:", "  docker.io: {}", `  ${registry}:${more}`];
  writeFileSync(file, [...lines, "    credentials:", ...items.map((item) => `      - ${item}`)].join("\n"));
  // A variable that begins like ours is one of ours, unless a credential names it.
  const azure = items.some((item) => item.includes("WHARFINGER_AZURE")) ? { WHARFINGER_AZURE: "y" } : {};
  const env = { SECRET: "x", ...azure };
  return loadConfig({ file, env, flags: {} }).upstreams[registry]?.credentials ?? [];
}

function faultsOf(items: readonly string[], registry?: string): string[] {
  try {
    load(items, registry);
  } catch (error) {
    assert.ok(error instanceof ConfigFaults, String(error));
    return error.faults.map(faultText).map((line) => line.replaceAll(`${directory}/`, "").replaceAll(directory, "DIR"));
  }
  return [];
}

test("every form is one item of the list, and several are a pool", () => {
  const path = (name: string) => join(directory, name);
  const found = load([
    "{username: me, password: hunter2}",
    "{username: me, passwordFile: secret, repositories: [library/*, team/**]}",
    "{username: me, passwordEnv: SECRET}",
    "{token: t0ken}",
    "{tokenFile: secret}",
    "{tokenEnv: SECRET}",
    "{dockerConfig: config.json}",
    "{helper: ecr-login}",
    "{ecr: {region: eu-west-1}}",
    "{ecr: {region: us-gov-west-1, roleArn: 'arn:aws-us-gov:iam::123456789012:role/path/pull'}}",
    "{ecrPublic: {}}",
    "{google: {}}",
    "{google: {keyFile: key.json}}",
    "{azure: {}}",
    "{azure: {clientId: 11111111-2222-3333-4444-555555555555, tenantId: example.com, clientSecretFile: secret}}",
    "{azure: {clientId: one, tenantId: two, clientSecretEnv: WHARFINGER_AZURE}}",
    "{anonymous: true}",
  ]);
  const all = { repositories: ["**"] };
  assert.deepEqual(found, [
    { type: "basic", username: "me", secret: { from: "value", value: "hunter2" }, ...all },
    {
      type: "basic",
      username: "me",
      secret: { from: "file", file: path("secret") },
      repositories: ["library/*", "team/**"],
    },
    { type: "basic", username: "me", secret: { from: "env", variable: "SECRET" }, ...all },
    { type: "token", secret: { from: "value", value: "t0ken" }, ...all },
    { type: "token", secret: { from: "file", file: path("secret") }, ...all },
    { type: "token", secret: { from: "env", variable: "SECRET" }, ...all },
    { type: "dockerConfig", file: path("config.json"), ...all },
    { type: "helper", name: "ecr-login", ...all },
    { type: "ecr", region: "eu-west-1", roleArn: undefined, ...all },
    { type: "ecr", region: "us-gov-west-1", roleArn: "arn:aws-us-gov:iam::123456789012:role/path/pull", ...all },
    { type: "ecrPublic", ...all },
    { type: "google", keyFile: undefined, ...all },
    { type: "google", keyFile: path("key.json"), ...all },
    { type: "azure", clientId: undefined, tenantId: undefined, secret: undefined, ...all },
    {
      type: "azure",
      clientId: "11111111-2222-3333-4444-555555555555",
      tenantId: "example.com",
      secret: { from: "file", file: path("secret") },
      ...all,
    },
    {
      type: "azure",
      clientId: "one",
      tenantId: "two",
      secret: { from: "env", variable: "WHARFINGER_AZURE" },
      ...all,
    },
    { type: "anonymous", ...all },
  ]);
});

test("a form with nothing below it is that form, and null elsewhere is nothing given", () => {
  const found = load(["ecrPublic:", "google:", "azure:", "{username: a, password: b, token: null, helper: null}"]);
  assert.deepEqual(
    found.map(({ type }) => type),
    ["ecrPublic", "google", "azure", "basic"],
  );
});

test("an item that is no form, or two of them, is a fault with its line", () => {
  const bad = [
    "{username: me, token: x}",
    "{token: x, password: y, username: z}",
    "{}",
    "{repositories: ['**']}",
    "{ecrPublic: {}, google: {}}",
    "{ecr: {region: eu-west-1}, username: me}",
    "{helper: pass, dockerConfig: config.json}",
    "{anonymous: true, helper: pass}",
    "x",
  ];
  const faults = faultsOf(bad);
  assert.equal(faults.length, bad.length);
  for (const [at, fault] of faults.entries()) {
    const start = `config.yaml:${at + 6}: upstreams.registry.example.com.credentials.${at}: expected one of {username`;
    assert.ok(fault.startsWith(start), `${bad[at]}: ${fault}`);
  }
});

test("what is wrong below a form is a fault at its key", () => {
  const cases: readonly (readonly [item: string, fault: RegExp])[] = [
    ["{helper: ../evil}", /credentials\.0\.helper: expected the name behind docker-credential-, without a path$/],
    ["{helper: /bin/sh}", /credentials\.0\.helper: expected the name/],
    ["{helper: -rf}", /credentials\.0\.helper: expected the name/],
    ["{helper: 'a b; c'}", /credentials\.0\.helper: expected the name/],
    ["{helper: 7}", /credentials\.0\.helper: expected the name/],
    ["{ecr: {region: moon}}", /ecr\.region: expected a region, such as eu-west-1/],
    ["{ecr: {region: eu-west-1, roleArn: x}}", /ecr\.roleArn: expected a role, such as arn:aws:iam:/],
    ["{ecr: {region: eu-west-1, roleArm: x}}", /ecr\.roleArm: unknown key, did you mean "roleArn"/],
    ["{ecr: true}", /credentials\.0\.ecr: expected keys and values, or \{\}/],
    ["{ecrPublic: {region: eu-west-1}}", /ecrPublic\.region: unknown key/],
    ["{google: {keyFile: missing.json}}", /google\.keyFile: no such file \(relative paths start at DIR\)/],
    ["{google: key.json}", /credentials\.0\.google: expected keys and values/],
    ["{azure: {clientSecretFile: secret}}", /credentials\.0\.azure: a service principal's secret needs clientId and/],
    ["{azure: {clientId: a, clientSecretEnv: SECRET}}", /credentials\.0\.azure: a service principal's secret needs/],
    [
      "{azure: {clientId: a, tenantId: b, clientSecretEnv: SECRET, clientSecretFile: secret}}",
      /azure: holds two secrets/,
    ],
    ["{azure: {clientId: a, tenantId: b, clientSecretEnv: NOT_THERE}}", /clientSecretEnv: the environment variable/],
    ["{dockerConfig: nowhere}", /credentials\.0\.dockerConfig: no such file/],
    ["{dockerConfig: .}", /credentials\.0\.dockerConfig: names a directory/],
    ["{anonymous: false}", /credentials\.0\.anonymous: expected true/],
    ["{token: a, repositories: []}", /credentials\.0\.repositories: names no repository; leave it out for all/],
    ["{token: a, repositories: [UPPER]}", /credentials\.0\.repositories\.0: expected a repository pattern/],
    ["{token: a, repositores: ['**']}", /repositores: unknown key, did you mean "repositories"/],
    ["{username: me}", /credentials\.0: holds a username and no password; one of password, passwordFile, passwordEnv/],
    ["{password: x}", /credentials\.0: holds a password and no username$/],
    ["{username: a, password: b, passwordEnv: SECRET}", /credentials\.0: holds 2 passwords; one of password, /],
    ["{token: a, tokenEnv: SECRET}", /credentials\.0: holds 2 tokens; one of token, tokenFile, tokenEnv/],
    ["{username: 'a:b', password: c}", /credentials\.0\.username: holds a colon, which ends a user name/],
    ["{tokenEnv: NOT_SET}", /tokenEnv: the environment variable .* not set/],
  ];
  for (const [item, fault] of cases) {
    const faults = faultsOf([item]);
    assert.equal(faults.length, 1, `${item}: ${faults.join("\n")}`);
    assert.match(faults[0] ?? "", fault);
    assert.match(faults[0] ?? "", /^config\.yaml:6: upstreams\.registry\.example\.com\.credentials/);
  }
});

test("the region of ECR may be left out where the registry's host names it, and only there", () => {
  assert.deepEqual(faultsOf(["{ecr: {}}"], "123456789012.dkr.ecr.eu-central-1.amazonaws.com"), []);
  assert.deepEqual(faultsOf(["{ecr: }"], "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn"), []);
  assert.deepEqual(faultsOf(["{token: a}", "{ecr: {}}"]), [
    "config.yaml:7: upstreams.registry.example.com.credentials.1.ecr: needs a region, which this registry's host does not name",
  ]);
  const url = "\n    url: https://123456789012.dkr.ecr.eu-central-1.amazonaws.com";
  assert.equal(load(["{ecr: {}}"], "images.example.com", url).length, 1);
});

test("account and region stand in the hosts of ECR, in every partition, and in no other's", () => {
  const account = "123456789012";
  for (const [host, region] of [
    [`${account}.dkr.ecr.eu-west-1.amazonaws.com`, "eu-west-1"],
    [`${account}.DKR.ECR.eu-west-1.amazonaws.com`, "eu-west-1"],
    [`${account}.dkr.ecr.cn-north-1.amazonaws.com.cn`, "cn-north-1"],
    [`${account}.dkr.ecr-fips.us-gov-west-1.amazonaws.com`, "us-gov-west-1"],
    [`${account}.dkr-ecr.eu-west-1.on.aws`, "eu-west-1"],
  ] as const) {
    assert.deepEqual(findEcrHost(host), { account, region }, host);
  }
  for (const host of [
    "public.ecr.aws",
    `${account}.dkr.ecr.eu-west-1.amazonaws.com.evil.example`,
    `${account}.dkr.ecr.eu-west-1.amazonaws.org`,
    `${account}.dkr.ecr.amazonaws.com`,
    "dkr.ecr.eu-west-1.amazonaws.com",
    "",
  ]) {
    assert.equal(findEcrHost(host), undefined, host);
  }
});

test("no fault repeats a value, for it may be a secret", () => {
  const secret = "s3cr3tValue";
  for (const item of [
    `{helper: "/${secret}"}`,
    `{ecr: {region: ${secret}}}`,
    `{ecr: ${secret}}`,
    `{azure: {clientId: "_${secret}", tenantId: [${secret}]}}`,
    `{google: {keyFile: ${secret}}}`,
    `{dockerConfig: ${secret}}`,
    `{anonymous: ${secret}}`,
    `{token: a, repositories: ["${secret}"]}`,
    `{token: ${secret}, username: ${secret}}`,
    secret,
  ]) {
    const faults = faultsOf([item]).join("\n");
    assert.notEqual(faults, "");
    assert.ok(!faults.includes(secret), faults);
  }
});

test("a token server without TLS is a fault for a registry with it", () => {
  const faults = (more: string) => {
    try {
      load(["{token: a}"], "registry.example.com", more);
    } catch (error) {
      assert.ok(error instanceof ConfigFaults, String(error));
      return error.faults.map(({ path, message }) => `${path}: ${message}`);
    }
    return [];
  };
  const realm = "\n    tokenRealm: http://auth.example.com/token";
  assert.match(
    faults(realm).join("\n"),
    /^upstreams\.registry\.example\.com\.tokenRealm: is http, and the registry https/,
  );
  assert.equal(faults(`${realm}\n    url: https://10.0.0.5`).length, 1);
  assert.deepEqual(faults(`${realm}\n    url: http://10.0.0.5`), []);
  assert.deepEqual(faults(realm.replace("http:", "https:")), []);
});
