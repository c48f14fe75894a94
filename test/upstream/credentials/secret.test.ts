/** Secrets from the configuration, files and variables: read at start, and again when a file has changed. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { CredentialForm, SecretSource } from "../../../src/config/credential.ts";
import type { Held } from "../../../src/upstream/credentials/credential.ts";
import { createScene, tempDir } from "./scene.ts";

const LOOK_MS = 5_000;

async function fileScene(t: TestContext, content: string) {
  const dir = await tempDir(t);
  const file = join(dir, "secret");
  writeFileSync(file, content);
  return { ...createScene(t, { env: { SET: "from-env", EMPTY: "" } }), dir, file };
}

const basic = (secret: SecretSource): CredentialForm => ({ type: "basic", username: "robot", secret });
const token = (secret: SecretSource): CredentialForm => ({ type: "token", secret });

test("user and password, and tokens, from value, file and variable", async (t) => {
  const { open, asking, file } = await fileScene(t, "hunter2\r\n\n");
  const sources: readonly (readonly [SecretSource, string])[] = [
    [{ from: "value", value: "plain" }, "plain"],
    [{ from: "file", file }, "hunter2"],
    [{ from: "env", variable: "SET" }, "from-env"],
  ];
  for (const [secret, text] of sources) {
    const user = await open(basic(secret));
    assert.equal(user.account, "robot");
    assert.deepEqual(await user.hold(asking()), { kind: "basic", username: "robot", password: text });
    const bearer = await open(token(secret));
    assert.equal(bearer.account, "token");
    assert.deepEqual(await bearer.hold(asking()), { kind: "bearer", token: text });
  }
});

test("a whole key is a password like any other: _json_key with its line ends inside", async (t) => {
  const key = JSON.stringify({ type: "service_account", private_key: "-----BEGIN\nabc\n-----END\n" }, null, 2);
  const { open, asking, file } = await fileScene(t, `${key}\n`);
  const source = await open({ type: "basic", username: "_json_key", secret: { from: "file", file } });
  assert.deepEqual(await source.hold(asking()), { kind: "basic", username: "_json_key", password: key });
});

test("a secret that is not there, is empty, or cannot be a token fails the start without being told", async (t) => {
  const { open, file, dir } = await fileScene(t, "\n");
  const from = { from: "file", file } as const;
  await assert.rejects(open(basic(from)), { kind: "invalid", message: /secret which should hold a secret, is empty$/ });
  await assert.rejects(open(basic({ from: "file", file: dir })), { kind: "invalid", message: /is a directory/ });
  await assert.rejects(open(basic({ from: "file", file: join(dir, "no") })), {
    kind: "invalid",
    message: /\(ENOENT\)/,
  });
  for (const variable of ["EMPTY", "MISSING"]) {
    await assert.rejects(open(token({ from: "env", variable })), { kind: "invalid", message: /is not set/ });
  }
  for (const text of ["hu\nsh", "hu sh", "h\u00fcsh"]) {
    writeFileSync(file, text);
    await assert.rejects(open(token(from)), (error) => {
      assert.match(String(error), /secret holds a space, a line end or another character/);
      return !String(error).includes(text);
    });
  }
  writeFileSync(file, "x".repeat(64 * 1024 + 1));
  await assert.rejects(open(basic(from)), { kind: "invalid", message: /larger than 65536 bytes/ });
});

test("a changed file is seen some seconds later, however it was replaced", async (t) => {
  const { open, asking, file, dir, clock } = await fileScene(t, "one");
  const source = await open(token({ from: "file", file }));
  const now = async () => {
    const held = await source.hold(asking());
    return held?.kind === "bearer" ? held.token : "";
  };
  writeFileSync(file, "two");
  assert.equal(await now(), "one");
  await clock.advance(LOOK_MS);
  assert.equal(await now(), "two");
  writeFileSync(join(dir, "next"), "three");
  renameSync(join(dir, "next"), file);
  await clock.advance(LOOK_MS);
  assert.equal(await now(), "three");
  // As Kubernetes swaps secrets: what the link leads to is another.
  writeFileSync(join(dir, "target"), "four");
  rmSync(file);
  symlinkSync("target", file);
  await clock.advance(LOOK_MS);
  assert.equal(await now(), "four");
});

test("a changed file is seen while the clock is behind where it was", async (t) => {
  const { open, asking, file, clock } = await fileScene(t, "one");
  const source = await open(token({ from: "file", file }));
  clock.jump(-3_600_000);
  writeFileSync(file, "two");
  assert.deepEqual(await source.hold(asking()), { kind: "bearer", token: "two" });
});

test("a pipe is read at start where something writes to it, and does not keep the start where nothing does", async (t) => {
  const { open, asking, dir } = await fileScene(t, "one");
  const file = join(dir, "pipe");
  execFileSync("mkfifo", [file]);
  await assert.rejects(open(token({ from: "file", file })), {
    kind: "invalid",
    message: /is a pipe that brought nothing/,
  });
  const writer = spawn("sh", ["-c", 'sleep 0.1; printf secret > "$0"', file], { stdio: "ignore" });
  t.after(() => writer.kill());
  const source = await open(token({ from: "file", file }));
  assert.deepEqual(await source.hold(asking()), { kind: "bearer", token: "secret" });
});

test("after a refusal the file is looked at by all who ask until it is another, and the same secret stays the same object", async (t) => {
  const { open, asking, file, clock } = await fileScene(t, "one");
  const source = await open(basic({ from: "file", file }));
  const held = await source.hold(asking());
  assert.ok(held);
  source.refused(held);
  assert.equal(await source.hold(asking()), held);
  assert.equal(await source.hold(asking()), held);
  const two: Held = { kind: "basic", username: "robot", password: "two" };
  writeFileSync(file, "two");
  assert.deepEqual(await source.hold(asking()), two);
  writeFileSync(file, "three");
  assert.deepEqual(await source.hold(asking()), two, "what is not refused is looked at now and then");
  source.refused(two);
  const three = await source.hold(asking());
  assert.deepEqual(three, { ...two, password: "three" });
  source.refused({ ...two, password: "three" });
  assert.equal(await source.hold(asking()), three);
  await clock.advance(60_000);
  assert.equal(await source.hold(asking()), three);
  writeFileSync(file, "four");
  assert.equal(await source.hold(asking()), three, "not watched closely for ever");
});

test("a file that vanishes, is emptied or becomes nonsense leaves the last good secret, and is told once", async (t) => {
  const { open, asking, file, clock, troubles } = await fileScene(t, "one");
  const source = await open(token({ from: "file", file }));
  const spoil: readonly (readonly [what: () => void, told: RegExp])[] = [
    [() => rmSync(file), /cannot read the file .*secret \(ENOENT\); what it held before stays in use$/],
    [() => mkdirSync(file), /is a directory/],
    [
      () => {
        rmSync(file, { recursive: true });
        writeFileSync(file, "");
      },
      /is empty/,
    ],
    [() => writeFileSync(file, "s3cr3t value"), /a character|another character/],
    [() => truncateSync(file, 100_000), /larger than/],
  ];
  for (const [what, told] of spoil) {
    what();
    troubles.length = 0;
    for (let look = 0; look < 3; look += 1) {
      await clock.advance(LOOK_MS);
      assert.deepEqual(await source.hold(asking()), { kind: "bearer", token: "one" });
    }
    assert.equal(troubles.length, 1, String(troubles));
    assert.match(troubles[0] ?? "", told);
    assert.match(troubles[0] ?? "", /^registry\.example\.com: /);
    assert.ok(!troubles.join().includes("s3cr3t"));
  }
  writeFileSync(file, "two");
  await clock.advance(LOOK_MS);
  assert.deepEqual(await source.hold(asking()), { kind: "bearer", token: "two" });
});

test("anonymous is a credential that holds nothing", async (t) => {
  const { open, asking } = createScene(t);
  const source = await open({ type: "anonymous" });
  assert.equal(source.account, "anonymous");
  assert.equal(await source.hold(asking()), undefined);
});
