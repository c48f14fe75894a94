/** The loader: precedence, every fault at once with its place, and nothing but faults whatever the file holds. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import fc from "fast-check";
import { ConfigFaults, faultText } from "../../src/config/faults.ts";
import { type ConfigSources, loadConfig } from "../../src/config/load.ts";
import { type Config, upstreamsOf } from "../../src/config/schema.ts";

const directory = mkdtempSync(join(tmpdir(), "wharfinger-config-"));
const file = join(directory, "config.yaml");
after(() => rmSync(directory, { recursive: true }));

function load(yaml: string | Uint8Array | undefined, more: Partial<ConfigSources> = {}): Config {
  if (yaml !== undefined) writeFileSync(file, yaml);
  return loadConfig({ file: yaml === undefined ? undefined : file, env: {}, flags: {}, cwd: "/somewhere", ...more });
}

/** The faults as lines, the file's directory left out. */
function faultsOf(yaml: string | Uint8Array | undefined, more: Partial<ConfigSources> = {}): string[] {
  try {
    load(yaml, more);
  } catch (error) {
    assert.ok(error instanceof ConfigFaults, String(error));
    return error.faults.map(faultText).map((line) => line.replaceAll(`${directory}/`, "").replaceAll(directory, "DIR"));
  }
  return [];
}

test("without file, environment and flags there are the defaults", () => {
  const config = load(undefined);
  assert.deepEqual(config.listen, { host: "127.0.0.1", port: 5000 });
  assert.equal(config.cache.dir, "/somewhere/data");
  assert.equal(config.cache.maxSize, 50 * 2 ** 30);
  assert.equal(config.drainTimeout, 30_000);
  assert.deepEqual(config.upstreams, {});
  assert.equal(upstreamsOf(config).size, 7);
  assert.equal(upstreamsOf(config).get("ghcr.io")?.freshness.tags, 300_000);
});

test("a flag goes before the environment, that before the file, that before the default", () => {
  const yaml = "cache: {maxSize: 1GiB, minFree: 1GiB}\nlog: {level: warn}\noffline: true\n";
  const env = {
    WHARFINGER_CACHE_MAX_SIZE: "2GiB",
    WHARFINGER_LOG_LEVEL: "debug",
    WHARFINGER_OFFLINE: "false",
    HOME: "/",
  };
  const config = load(yaml, { env, flags: { "cache-max-size": "80%", listen: undefined } });
  assert.deepEqual(config.cache.maxSize, { percent: 80 });
  assert.equal(config.cache.minFree, 2 ** 30);
  assert.equal(config.log.level, "debug");
  assert.equal(config.log.format, "json");
  assert.equal(config.offline, false);
});

test("relative paths start at the file, and at the working directory where a flag or variable gives them", () => {
  assert.equal(load("cache: {dir: store}").cache.dir, join(directory, "store"));
  assert.equal(load("").cache.dir, join(directory, "data"));
  assert.equal(load("cache: {dir: store}", { flags: { "cache-dir": "x" } }).cache.dir, "/somewhere/x");
});

test("every fault is said at once, with its line and the nearest known key", () => {
  const yaml = [
    "listne: 0.0.0.0:5000",
    "cache:",
    "  maxSize: lots",
    "log: {level: loud}",
    "upstreams:",
    "  docker.io:",
    "  ghcr.io:",
    "    freshnes: {}",
    "    freshness: {tags: 2h, staleIfError: 1m}",
    "    tls: {ca: missing.pem, cert: config.yaml}",
    "    url: https://user:hunter2@example.com",
    "  bad_name: {}",
  ].join("\n");
  assert.deepEqual(faultsOf(yaml, { flags: { offline: "maybe" }, env: { WHARFINGER_CACHE_DIRR: "x" } }), [
    'WHARFINGER_CACHE_DIRR: unknown variable, did you mean "WHARFINGER_CACHE_DIR"?',
    "--offline: expected true or false",
    'config.yaml:1: listne: unknown key, did you mean "listen"?',
    'config.yaml:3: cache.maxSize: expected a size such as 50GiB, a plain number of bytes, or a share of the file system such as "80%"',
    "config.yaml:4: log.level: expected one of trace, debug, info, warn, error, fatal, silent",
    'config.yaml:8: upstreams.ghcr.io.freshnes: unknown key, did you mean "freshness"?',
    "config.yaml:9: upstreams.ghcr.io.freshness.staleWhileRevalidate: must not be shorter than freshness.tags",
    "config.yaml:9: upstreams.ghcr.io.freshness.staleIfError: must not be shorter than freshness.staleWhileRevalidate",
    "config.yaml:10: upstreams.ghcr.io.tls.ca: no such file (relative paths start at DIR)",
    "config.yaml:10: upstreams.ghcr.io.tls.cert: cert and key go together; key is missing",
    "config.yaml:11: upstreams.ghcr.io.url: a URL holds no user name or password; use credentials",
    "config.yaml:12: upstreams.bad_name: expected a registry name, host or host:port, such as ghcr.io or registry.example.com:5000",
  ]);
});

test("endpoints are URLs, of which each faulty one is named", () => {
  const of = (text: string) => `upstreams: {docker.io: {endpoints: ${text}}}`;
  assert.deepEqual(load(of("[https://a.example/, http://b.example:5000/path]")).upstreams["docker.io"]?.endpoints, [
    "https://a.example",
    "http://b.example:5000/path",
  ]);
  assert.deepEqual(load(of("[]")).upstreams["docker.io"]?.endpoints, []);
  const faults = faultsOf(of("[https://me:pw@a.example, 5, https://a.example]"));
  assert.match(faults[0] ?? "", /endpoints\[?\.?0.*use credentials/);
  assert.match(faults[1] ?? "", /endpoints\[?\.?1.*http/);
  assert.equal(faults.length, 2);
});

test("limits on an upstream are numbers, fractions and sizes; none where nothing is said", () => {
  const limitsOf = (limits: string) =>
    load(`upstreams: {docker.io: {limits: ${limits}}}`).upstreams["docker.io"]?.limits;
  const none = { connections: 64, requestsPerSecond: null, bandwidth: null };
  assert.deepEqual(limitsOf("{}"), none);
  assert.deepEqual(limitsOf("{requestsPerSecond: null, bandwidth: null}"), none);
  assert.deepEqual(limitsOf("{requestsPerSecond: 0.5, bandwidth: 20MiB}"), {
    ...none,
    requestsPerSecond: 0.5,
    bandwidth: 20 * 2 ** 20,
  });
  assert.equal(limitsOf("{bandwidth: 5000000}")?.bandwidth, 5_000_000);
  for (const bad of ["0", "-1", "many", ".inf", ".nan", "100001"]) {
    const faults = faultsOf(`upstreams: {docker.io: {limits: {requestsPerSecond: ${bad}}}}`);
    assert.match(faults.join(), /limits\.requestsPerSecond: expected a number above 0/, bad);
  }
  for (const bad of ["0", "64KB", "-1MiB", "20MiB/s", "fast", "50%"]) {
    const faults = faultsOf(`upstreams: {docker.io: {limits: {bandwidth: ${bad}}}}`);
    assert.match(faults.join(), /limits\.bandwidth: expected a size/, bad);
  }
});

test("workers is a number of processes or auto, from a file, the environment or a flag", () => {
  assert.equal(load("workers: 4").workers, 4);
  assert.equal(load("workers: auto").workers, "auto");
  assert.equal(load("{}").workers, 1);
  for (const bad of ["workers: 0", "workers: 65", "workers: 1.5", "workers: many", "workers: -1"]) {
    assert.match(faultsOf(bad).join(), /workers: expected auto, or a whole number from 1 to 64/);
  }
  assert.deepEqual(faultsOf(undefined, { env: { WHARFINGER_WORKERS: "3" } }), []);
});

test("names of registries are lower-cased, Docker Hub's are one, and the default must be there", () => {
  const config = load("upstreams: {Registry-1.Docker.IO: {}, Example.COM:5000: {hosts: [Mirror.lan]}}");
  assert.deepEqual(Object.keys(config.upstreams), ["docker.io", "example.com:5000"]);
  assert.deepEqual(config.upstreams["example.com:5000"]?.hosts, ["mirror.lan"]);
  assert.equal(load("defaultUpstream: index.docker.io\nupstreams: {docker.io: {}}").defaultUpstream, "docker.io");
  assert.match(faultsOf("upstreams: {ghcr.io: {}}").join(), /defaultUpstream: "docker\.io" is not among .*ghcr\.io/);
  assert.match(faultsOf("upstreams: {docker.io: {}, index.docker.io: {}}").join(), /same registry as "docker\.io"/);
  assert.match(
    faultsOf("upstreams: {docker.io: {hosts: [a.lan]}, ghcr.io: {hosts: [A.lan]}}").join(),
    /already selects/,
  );
});

test("no fault repeats a value, for it may be a secret", () => {
  const secret = "s3cr3tValue";
  for (const yaml of [
    `upstreams: {docker.io: {credentials: [{username: a, password: [${secret}]}]}}`,
    `upstreams: {docker.io: {credentials: [{username: a, passwordFile: ${secret}}]}}`,
    `upstreams: {docker.io: {credentials: [{username: a, passwordEnv: ${secret}}]}}`,
    `upstreams: {docker.io: {credentials: ${secret}, url: "https://${secret}@x", tokenRealm: "http://a:${secret}@x"}}`,
    `upstreams: {docker.io: {credentials: [{username: a, password: *${secret}}]}}`,
    `upstreams: {docker.io: {credentials: [{username: a, password: !${secret} x}]}}`,
    `upstreams: {docker.io: {credentials: [{username: a, password: "\\q${secret}}]}}`,
    `listen: ${secret}\nlog: {level: ${secret}}\ntls: ${secret}`,
  ]) {
    const faults = faultsOf(yaml).join("\n");
    assert.notEqual(faults, "");
    assert.ok(!faults.includes(secret), faults);
  }
});

test("what is wrong as YAML is said with its line", () => {
  assert.deepEqual(faultsOf("cache:\n  maxSize: 1GiB\n  maxSize: 2GiB\n"), [
    "config.yaml:3: cache.maxSize: duplicate key",
  ]);
  assert.match(faultsOf("listen: a:1\ncache: [\n").join(), /^config\.yaml:\d: invalid YAML/);
  assert.match(faultsOf("- a\n").join(), /expected keys and values/);
  assert.match(faultsOf("__proto__: {a: 1}\n").join(), /__proto__: unknown key/);
  assert.match(faultsOf("a: 1\n---\nb: 2\n").join(), /one YAML document/);
  assert.match(faultsOf(Uint8Array.of(0xff, 0xfe, 0x80)).join(), /UTF-8/);
  assert.match(faultsOf(new Uint8Array(1024 * 1024 + 1).fill(0x23)).join(), /1 MiB/);
  assert.match(faultsOf("[".repeat(300_000)).join("\n"), /YAML/);
  const bomb = [
    "a: &a [x,x,x,x,x,x,x,x,x,x]",
    ..."bcdefg".split("").map((k, i) => `${k}: &${k} [${Array(10).fill(`*${"abcdefg"[i]}`)}]`),
  ];
  assert.match(faultsOf(bomb.join("\n")).join(), /aliases/);
});

test("a file that is not there is one fault", () => {
  assert.deepEqual(faultsOf(undefined, { file: "/nowhere/w.yaml" }), ["/nowhere/w.yaml: no such file"]);
  assert.deepEqual(faultsOf(undefined, { file: directory }), ["DIR: names a directory, not a file"]);
});

test("an empty section is its defaults, and an empty variable is not set", () => {
  assert.equal(
    load("admin:\ncache:\nupstreams:\n  docker.io:\n", { env: { WHARFINGER_LISTEN: "" } }).listen.port,
    5000,
  );
});

test("the variables of a Kubernetes service named wharfinger are no settings", () => {
  const env = {
    WHARFINGER_SERVICE_HOST: "10.0.0.1",
    WHARFINGER_SERVICE_PORT_REGISTRY: "5000",
    WHARFINGER_PORT: "tcp://10.0.0.1:5000",
    WHARFINGER_PORT_5000_TCP_ADDR: "10.0.0.1",
  };
  assert.deepEqual(faultsOf(undefined, { env }), []);
});

test("the two listeners cannot share an address", () => {
  assert.match(faultsOf(undefined, { flags: { listen: "127.0.0.1:5001" } }).join(), /admin\.listen: must not be/);
  assert.deepEqual(faultsOf(undefined, { flags: { listen: "127.0.0.1:0", "admin-listen": "127.0.0.1:0" } }), []);
});

test("a map where a URL should be is a fault, whatever its keys are called", () => {
  const faults = faultsOf("upstreams: {docker.io: {url: {toString: 1}}}");
  assert.match(faults.join(), /url: expected an http or https URL/);
});

test("whatever the file, the environment and the flags hold, nothing but faults is thrown", () => {
  const keys = fc.constantFrom(
    "listen",
    "tls",
    "admin",
    "cache",
    "maxSize",
    "upstreams",
    "docker.io",
    "tls",
    "ca",
    "hosts",
    "credentials",
    "freshness",
    "tags",
    "url",
    "toString",
    "constructor",
    "__proto__",
  );
  const values = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null), fc.double());
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ maxDepth: 4 }, values, fc.dictionary(keys, tie("tree")), fc.array(tie("tree"), { maxLength: 3 })),
  }));
  const texts = fc.oneof(
    tree.map((value) => JSON.stringify(value)),
    fc.string({ unit: "binary" }),
    fc.stringMatching(/^(?:[a-z]{0,4}[:\-&*!|>{}[\]"'#%@ \n]{1,3}){0,12}$/),
  );
  fc.assert(
    fc.property(texts, fc.string(), fc.anything(), (yaml, text, flag) => {
      try {
        load(yaml, {
          env: { WHARFINGER_LISTEN: text, WHARFINGER_X: text },
          flags: { "cache-dir": flag, offline: flag },
        });
      } catch (error) {
        assert.ok(error instanceof ConfigFaults, String(error));
        for (const fault of error.faults) assert.doesNotMatch(faultText(fault), /\n/);
      }
    }),
    { numRuns: 500 },
  );
});

test("a variable that a credential names may begin like ours", () => {
  const yaml = `upstreams:
  docker.io: {credentials: [{username: bob, passwordEnv: WHARFINGER_HUB_PASSWORD}]}
  ghcr.io: {credentials: [{tokenEnv: WHARFINGER_GHCR}]}
`;
  const env = { WHARFINGER_HUB_PASSWORD: "x", WHARFINGER_GHCR: "y" };
  assert.deepEqual(faultsOf(yaml, { env }), []);
  const [fault] = faultsOf(yaml, { env: { ...env, WHARFINGER_HUB: "z" } });
  assert.match(fault ?? "", /^WHARFINGER_HUB: unknown variable/);
});

test("who is offline needs no secrets", () => {
  const yaml = "upstreams: {docker.io: {credentials: [{username: bob, passwordEnv: NOT_THERE}]}}\n";
  assert.equal(faultsOf(yaml).length, 1);
  assert.deepEqual(faultsOf(`offline: true\n${yaml}`), []);
});

test("a hundred faults are told, and how many more there are", () => {
  const yaml = Array.from({ length: 20_000 }, (_, at) => `k${at}:\n`).join("");
  const startedAt = performance.now();
  const faults = faultsOf(yaml);
  assert.equal(faults.length, 101);
  assert.match(faults[99] ?? "", /^config\.yaml:100: k99: unknown key/);
  assert.equal(faults[100], "and 19900 more faults");
  // What grows with the square of the keys takes far longer.
  assert.ok(performance.now() - startedAt < 3000);
});

test("very deep nesting is one fault", () => {
  for (const yaml of ["[".repeat(20_000), Array.from({ length: 1200 }, (_, at) => `${" ".repeat(at)}a:\n`).join("")]) {
    // How deep is too deep depends on the stack; what is not too deep is one unknown key.
    assert.equal(faultsOf(yaml).length, 1);
  }
});
