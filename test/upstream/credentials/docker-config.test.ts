/** Docker's config.json: every form of key and entry, helpers by registry and for all, and files that are not what they should be. */
import assert from "node:assert/strict";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { Failure } from "../../../src/base/failure.ts";
import { chooseFromDockerConfig } from "../../../src/upstream/credentials/docker-config.ts";
import { createScene, tempDir } from "./scene.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");
const auth = (user: string, password = "pw") => ({ auth: base64(`${user}:${password}`) });
const basic = (username: string, password = "pw") => ({ kind: "basic", username, password });

function choose(config: unknown, name = "registry.example.com", endpoint = `https://${name}`) {
  return chooseFromDockerConfig(Buffer.from(JSON.stringify(config)), name, new URL(endpoint));
}

const HUB = "https://registry-1.docker.io";

test("an entry is found by every form of key that Docker and others write", () => {
  const cases: readonly (readonly [key: string, name: string, endpoint: string])[] = [
    ["https://index.docker.io/v1/", "docker.io", HUB],
    ["index.docker.io", "docker.io", HUB],
    ["docker.io", "docker.io", HUB],
    ["registry-1.docker.io", "docker.io", HUB],
    ["https://registry-1.docker.io/v2/", "docker.io", HUB],
    ["registry.example.com", "registry.example.com", "https://registry.example.com"],
    ["Registry.Example.COM", "registry.example.com", "https://registry.example.com"],
    ["https://registry.example.com", "registry.example.com", "https://registry.example.com"],
    ["http://registry.example.com/", "registry.example.com", "http://registry.example.com"],
    ["registry.example.com:443", "registry.example.com", "https://registry.example.com"],
    ["registry.example.com:5000", "registry.example.com:5000", "http://registry.example.com:5000"],
    ["https://registry.example.com:5000/v2/", "registry.example.com:5000", "http://registry.example.com:5000"],
    ["quay.io/org", "quay.io", "https://quay.io"],
    ["10.0.0.5:5000", "images.example.com", "https://10.0.0.5:5000"],
  ];
  for (const [key, name, endpoint] of cases) {
    const config = { auths: { "other.example.com": auth("no"), [key]: auth("robot") } };
    assert.deepEqual(choose(config, name, endpoint).held, basic("robot"), key);
  }
});

test("an entry for another port, host or name is not ours", () => {
  for (const key of [
    "registry.example.com:5000",
    "example.com",
    "evil-registry.example.com",
    "registry.example.com.evil.example",
    "https://evil.example/registry.example.com",
    "docker.io",
    "",
  ]) {
    assert.deepEqual(choose({ auths: { [key]: auth("robot") } }), { program: undefined, held: undefined }, key);
  }
});

test("of several entries for a host, the one whose path leads to the API goes first, then the one without a path", () => {
  const endpoint = "https://jfrog.example.com/artifactory/api/docker/local";
  const auths = {
    "jfrog.example.com/elsewhere": auth("elsewhere"),
    "jfrog.example.com": auth("host"),
    "https://jfrog.example.com/artifactory": auth("product"),
    "jfrog.example.com/artifactory/api/docker/local": auth("local"),
    "jfrog.example.com/artifactory/api/docker/loc": auth("prefix of a name"),
  };
  const pick = (...keys: (keyof typeof auths)[]) => {
    const some = Object.fromEntries(keys.map((key) => [key, auths[key]]));
    const { held } = choose({ auths: some }, "jfrog.example.com", endpoint);
    return held?.kind === "basic" ? held.username : undefined;
  };
  const keys = Object.keys(auths) as (keyof typeof auths)[];
  assert.equal(pick(...keys), "local");
  assert.equal(
    pick("jfrog.example.com/elsewhere", "jfrog.example.com", "https://jfrog.example.com/artifactory"),
    "product",
  );
  assert.equal(pick("jfrog.example.com/elsewhere", "jfrog.example.com"), "host");
  assert.equal(pick("jfrog.example.com/elsewhere"), "elsewhere");
});

test("every form of entry: auth, user and password, identity token, registry token, and a mark for a helper", () => {
  const held = (entry: unknown) => choose({ auths: { "registry.example.com": entry } }).held;
  assert.deepEqual(held({ auth: base64("me:a:b:c") }), basic("me", "a:b:c"));
  assert.deepEqual(held({ auth: base64("me:pw\0\0") }), basic("me"));
  assert.deepEqual(held({ auth: base64("me:").replaceAll("=", "") }), basic("me", ""));
  assert.deepEqual(held({ username: "me", password: "pw" }), basic("me"));
  assert.deepEqual(held({ ...auth("no"), identitytoken: "id" }), { kind: "identity", token: "id" });
  assert.deepEqual(held({ ...auth("no"), identitytoken: "id", registrytoken: "rt" }), { kind: "bearer", token: "rt" });
  for (const mark of [{}, { email: "a@b" }, { auth: "" }, { username: "me" }]) assert.equal(held(mark), undefined);
});

test("the registry's own helper goes before the store, an empty name excepts it, and Hub has its address", () => {
  const config = {
    credsStore: "desktop",
    credHelpers: { "registry.example.com": "own", "excepted.example.com": "", "https://index.docker.io/v1/": "hub" },
  };
  assert.deepEqual(choose(config).program, { name: "own", server: "registry.example.com" });
  assert.deepEqual(choose(config, "other.example.com").program, { name: "desktop", server: "other.example.com" });
  assert.equal(choose(config, "excepted.example.com").program, undefined);
  assert.deepEqual(choose(config, "docker.io", HUB).program, { name: "hub", server: "https://index.docker.io/v1/" });
});

test("unknown keys, and entries for others that make no sense, are nobody's business", () => {
  const config = {
    HttpHeaders: { "User-Agent": "x" },
    psFormat: 7,
    plugins: [],
    credsStore: null,
    auths: {
      "other.example.com": "nonsense",
      "third.example.com": { auth: "%%%" },
      "registry.example.com": auth("me"),
    },
  };
  assert.deepEqual(choose(config), { program: undefined, held: basic("me") });
});

test("a file that is malformed where it concerns us is invalid, and its contents are not told", () => {
  const secret = "s3cr3tValue";
  for (const config of [
    secret,
    [secret],
    null,
    { auths: secret },
    { auths: [secret] },
    { credHelpers: secret },
    { credsStore: `../${secret}` },
    { credsStore: { name: secret } },
    { credHelpers: { "registry.example.com": `/bin/${secret}` } },
    { auths: { "registry.example.com": secret } },
    { auths: { "registry.example.com": { auth: secret } } },
    { auths: { "registry.example.com": { auth: base64(`:${secret}`) } } },
    { auths: { "registry.example.com": { identitytoken: `${secret} ${secret}` } } },
  ]) {
    assert.throws(
      () => choose(config),
      (error) => error instanceof Failure && error.kind === "invalid" && !error.message.includes(secret),
      JSON.stringify(config),
    );
  }
  for (const text of ["", secret, `{"auths":{"${secret}":`]) {
    assert.throws(
      () => chooseFromDockerConfig(Buffer.from(text), "x", new URL("https://x")),
      (error) => error instanceof Failure && error.message === "is not JSON",
    );
  }
});

test("whatever the file holds, it is read or refused as invalid", () => {
  const key = fc.constantFrom("auths", "credHelpers", "credsStore", "registry.example.com", "auth", "username", "x");
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      fc.string(),
      fc.constant(null),
      fc.dictionary(key, tie("tree")),
      fc.array(tie("tree"), { maxLength: 2 }),
    ),
  }));
  fc.assert(
    fc.property(fc.oneof(tree, fc.anything()), (config) => {
      try {
        chooseFromDockerConfig(
          Buffer.from(JSON.stringify(config) ?? ""),
          "registry.example.com",
          new URL("https://registry.example.com"),
        );
      } catch (error) {
        assert.ok(error instanceof Failure && error.kind === "invalid", String(error));
      }
    }),
  );
});

async function fileScene(t: TestContext, config: unknown) {
  const dir = await tempDir(t);
  const file = join(dir, "config.json");
  const write = (value: unknown) => writeFileSync(file, typeof value === "string" ? value : JSON.stringify(value));
  write(config);
  const program = (name: string, script: string) => {
    const path = join(dir, `docker-credential-${name}`);
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
  };
  const scene = createScene(t, { env: { PATH: `${dir}:/usr/bin:/bin` } });
  return { ...scene, form: { type: "dockerConfig", file } as const, write, program };
}

test("a login that changes is seen, and one that becomes malformed leaves the last good one", async (t) => {
  const { open, asking, form, write, clock, troubles } = await fileScene(t, {
    auths: { "registry.example.com": auth("me") },
  });
  const source = await open(form);
  assert.equal(source.account, "me");
  assert.deepEqual(await source.hold(asking()), basic("me"));
  write({ auths: { "registry.example.com": auth("me", "new") } });
  await clock.advance(5_000);
  const held = await source.hold(asking());
  assert.deepEqual(held, basic("me", "new"));
  write('{"auths":{');
  await clock.advance(5_000);
  assert.equal(await source.hold(asking()), held);
  assert.match(
    troubles.join("\n"),
    /^registry\.example\.com: the file .*config\.json is not JSON; what it held before/,
  );
  write({});
  await clock.advance(5_000);
  assert.equal(await source.hold(asking()), undefined);
  assert.equal(source.account, "me");
});

test("a file without an entry for us is told of at start, and when the entry goes", async (t) => {
  const { open, asking, form, write, clock, troubles } = await fileScene(t, { auths: {} });
  const source = await open(form);
  const line = "registry.example.com: docker-config has no entry for registry.example.com; pulling as anonymous";
  assert.deepEqual(troubles, [line]);
  const hold = async (content: object) => {
    write(content);
    await clock.advance(5_000);
    return await source.hold(asking());
  };
  assert.equal(await hold({ auths: { other: auth("me") } }), undefined);
  assert.equal(troubles.length, 1);
  assert.deepEqual(await hold({ auths: { "registry.example.com": auth("me") } }), basic("me"));
  assert.equal(troubles.length, 1);
  assert.equal(await hold({}), undefined);
  assert.equal(await hold({ auths: {} }), undefined);
  assert.deepEqual(troubles, [line, line]);
});

test("a malformed file fails the start", async (t) => {
  const { open, form } = await fileScene(t, "{");
  await assert.rejects(open(form), { kind: "invalid", message: /^the file .*config\.json is not JSON$/ });
});

test("a helper that the file names is asked, what it does not know comes from auths, and its failure is one", async (t) => {
  const { open, asking, form, program, write, clock } = await fileScene(t, {
    credHelpers: { "registry.example.com": "own" },
    auths: { "registry.example.com": auth("file") },
  });
  program("own", `echo '{"Username":"helped","Secret":"pw"}'`);
  program("none", "echo 'credentials not found in native keychain'; exit 1");
  program("broken", "exit 1");
  const source = await open(form);
  assert.equal(source.account, "helper:own");
  assert.deepEqual(await source.hold(asking()), basic("helped"));
  const use = async (name: string) => {
    write({ credsStore: name, auths: { "registry.example.com": auth("file") } });
    await clock.advance(5_000);
  };
  await use("none");
  assert.deepEqual(await source.hold(asking()), basic("file"));
  await use("broken");
  await assert.rejects(source.hold(asking()), {
    kind: "refused",
    message: /docker-credential-broken exited with status 1/,
  });
});
