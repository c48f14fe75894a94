/** Credential helpers as real programs: what they give, what they may not do to us, and that nothing is left of them. */
import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { Failure } from "../../../src/base/failure.ts";
import { parseAnswer } from "../../../src/upstream/credentials/program.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { createScene, type SceneOptions, tempDir } from "./scene.ts";

const FORM = { type: "helper", name: "test" } as const;

/** @param script of the shell, as docker-credential-test; in it `$DIR` is a directory for notes */
async function programScene(t: TestContext, script: string | undefined, more: SceneOptions = {}) {
  const dir = await tempDir(t);
  const file = join(dir, "docker-credential-test");
  const write = (text: string) => {
    writeFileSync(file, `#!/bin/sh\n${text}\n`);
    chmodSync(file, 0o755);
  };
  if (script !== undefined) write(script);
  const env = { PATH: `${dir}:/usr/bin:/bin`, DIR: dir };
  const scene = createScene(t, { env, ...more });
  return {
    ...scene,
    dir,
    write,
    /** What was noted, by lines. */
    notes: () => {
      const notes = join(dir, "notes");
      return existsSync(notes) ? readFileSync(notes, "utf8").trim().split("\n") : [];
    },
  };
}

const answering = (username: string, secret: string) => `
read server
echo "$1 $server" >> "$DIR/notes"
echo '{"ServerURL":"x","Username":"${username}","Secret":"${secret}"}'`;

/** Waits until a process is gone, for two seconds. */
async function isGone(pid: number): Promise<boolean> {
  for (let turn = 0; turn < 100; turn += 1) {
    try {
      process.kill(pid, 0);
      // Ended, and waiting for its new parent to notice.
      if (/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"))) return true;
    } catch {
      return true;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return false;
}

test("a program is asked get with the server's address, once however many wait, and its answer is kept", async (t) => {
  const { open, asking, notes } = await programScene(t, answering("me", "hunter2"));
  const source = await open(FORM);
  assert.equal(source.account, "helper:test");
  assert.deepEqual(notes(), []);
  const all = await Promise.all(Array.from({ length: 20 }, () => source.hold(asking())));
  for (const held of all) assert.deepEqual(held, { kind: "basic", username: "me", password: "hunter2" });
  await source.hold(asking());
  assert.deepEqual(notes(), ["get registry.example.com"]);
});

test("Docker Hub is asked for under the address that Docker keeps it by", async (t) => {
  const { open, asking, notes } = await programScene(t, answering("me", "x"), { name: "docker.io" });
  await (await open(FORM)).hold(asking());
  assert.deepEqual(notes(), ["get https://index.docker.io/v1/"]);
});

test("the user name <token> says that the secret is an identity token", async (t) => {
  const { open, asking } = await programScene(t, answering("<token>", "abc.def"));
  assert.deepEqual(await (await open(FORM)).hold(asking()), { kind: "identity", token: "abc.def" });
});

test("nothing found in the keychain is anonymous, and asked again after a minute", async (t) => {
  const nothing = "echo ran >> $DIR/notes; echo 'credentials not found in native keychain'; exit 1";
  const { open, asking, write, clock } = await programScene(t, nothing);
  const source = await open(FORM);
  assert.equal(await source.hold(asking()), undefined);
  assert.equal(await source.hold(asking()), undefined);
  write(answering("me", "new"));
  await clock.advance(60_000);
  assert.deepEqual(await source.hold(asking()), { kind: "basic", username: "me", password: "new" });
});

test("what was refused is asked for again, and so is what is five minutes old, behind", async (t) => {
  const { open, asking, write, notes, clock } = await programScene(t, answering("me", "one"));
  const source = await open(FORM);
  const one = await source.hold(asking());
  assert.ok(one);
  write(answering("me", "two"));
  assert.equal(await source.hold(asking()), one);
  source.refused(one);
  const two = await source.hold(asking());
  assert.deepEqual(two, { kind: "basic", username: "me", password: "two" });
  // Late news of the first says nothing of the second.
  source.refused(one);
  assert.equal(await source.hold(asking()), two);
  assert.equal(notes().length, 2);
  await clock.advance(5 * 60_000);
  assert.equal(await source.hold(asking()), two);
  await source.close?.();
  assert.ok(notes().length >= 2);
});

test("a program that is missing, cannot be started, or fails says so in one line without its output", async (t) => {
  const baseline = openResources();
  const secret = "s3cr3t-in-the-output";
  const cases: readonly (readonly [script: string | undefined, message: RegExp])[] = [
    [
      undefined,
      /^registry\.example\.com: the program docker-credential-test is not there: it must be in a directory of/,
    ],
    [`echo ${secret}; echo ${secret} >&2; exit 3`, /exited with status 3; run it by hand to see why: echo registry/],
    ["kill -9 $$", /was ended by a signal/],
    [`echo ${secret}`, /wrote something that is no credential/],
    ["", /wrote something that is no credential/],
    [`echo '["${secret}"]'`, /wrote something that is no credential/],
    [`echo '{"Username":"a","Secret":["${secret}"]}'`, /wrote something that is no credential/],
    [`echo '{"Username":"<token>","Secret":"${secret} with space"}'`, /wrote something that is no credential/],
    [`head -c 200000 /dev/zero | tr '\\0' x; echo ${secret}`, /wrote more than 65536 bytes/],
    ["exec cat /dev/zero", /wrote more than 65536 bytes/],
  ];
  for (const [script, message] of cases) {
    const { open, asking } = await programScene(t, script);
    const source = await open(FORM);
    await assert.rejects(source.hold(asking()), (error: unknown) => {
      assert.ok(error instanceof Failure);
      assert.equal(error.kind, "refused", script ?? "missing");
      assert.match(error.message, message);
      assert.doesNotMatch(`${error.message}${error.stack}${String(error.cause)}`, /s3cr3t/);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    });
    await source.close?.();
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("a file without the right to be run cannot be started, which is said", async (t) => {
  const { open, asking, dir } = await programScene(t, answering("me", "x"));
  chmodSync(join(dir, "docker-credential-test"), 0o644);
  await assert.rejects((await open(FORM)).hold(asking()), { kind: "refused", message: /\(EACCES\)$/ });
});

test("a program that hangs is ended with all that it started, and nothing is left behind", async (t) => {
  const baseline = openResources();
  const hang = "sleep 1000 & echo $! >> $DIR/notes; echo $$ >> $DIR/notes; trap '' TERM; wait; wait; sleep 1000";
  const { open, asking, clock, notes } = await programScene(t, hang);
  const source = await open(FORM);
  const waiting = assert.rejects(source.hold(asking()), {
    kind: "unreachable",
    timedOut: true,
    message: "registry.example.com: the program docker-credential-test did not answer within 10 s",
  });
  while (notes().length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
  await clock.advance(10_000);
  await waiting;
  for (const pid of notes()) assert.ok(await isGone(Number(pid)), `process ${pid}`);
  assert.equal(clock.pending, 0);
  assert.deepEqual(await residueSince(baseline), []);
});

test("closing ends a program that runs", async (t) => {
  const { open, asking, notes } = await programScene(t, "echo $$ >> $DIR/notes; exec sleep 1000");
  const source = await open(FORM);
  const waiting = assert.rejects(source.hold(asking()), { kind: "unreachable", message: /is stopping/ });
  while (notes().length < 1) await new Promise((resolve) => setTimeout(resolve, 10));
  await source.close?.();
  await waiting;
  assert.ok(await isGone(Number(notes()[0])));
});

test("what a program leaves running behind it is not waited for, though it holds its output open", async (t) => {
  const { open, asking, notes } = await programScene(t, `sleep 60 & echo $! >> $DIR/notes\n${answering("me", "x")}`);
  const held = await (await open(FORM)).hold(asking());
  assert.deepEqual(held, { kind: "basic", username: "me", password: "x" });
  process.kill(Number(notes()[0]), "SIGKILL");
});

test("a program that does not read what it is told is judged by what it writes", async (t) => {
  const { open, asking } = await programScene(t, `exec <&-; echo '{"Username":"a","Secret":"b"}'`);
  assert.deepEqual(await (await open(FORM)).hold(asking()), { kind: "basic", username: "a", password: "b" });
});

test("a program that failed is not started again for ten seconds", async (t) => {
  const { open, asking, clock, notes, write } = await programScene(t, "echo ran >> $DIR/notes; exit 1");
  const source = await open(FORM);
  for (let time = 0; time < 5; time += 1) await assert.rejects(source.hold(asking()), { kind: "refused" });
  assert.deepEqual(notes(), ["ran"]);
  write(answering("me", "back"));
  await clock.advance(10_000);
  assert.deepEqual(await source.hold(asking()), { kind: "basic", username: "me", password: "back" });
});

test("a program that begins to fail leaves what it gave in use for a while, and that is told once", async (t) => {
  let status = 0;
  const run = async () => ({ status, output: Buffer.from('{"Username":"me","Secret":"one"}') });
  const { open, asking, clock, troubles } = createScene(t, { run });
  const source = await open(FORM);
  const one = await source.hold(asking());
  status = 1;
  for (let minute = 0; minute < 30; minute += 1) {
    assert.equal(await source.hold(asking()), one);
    await clock.advance(60_000);
  }
  assert.equal(troubles.length, 1, String(troubles));
  assert.match(troubles[0] ?? "", /exited with status 1.*; what it gave before stays in use for now$/);
  await assert.rejects(source.hold(asking()), { kind: "refused" });
});

test("any answer is a credential, none, or unusable", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
      const held = parseAnswer(text);
      assert.ok(held === undefined || held === "unusable" || held.kind === "basic" || held.kind === "identity");
    }),
  );
  assert.equal(parseAnswer('{"Username":"","Secret":""}'), undefined);
  assert.equal(parseAnswer('{"Username":"a","Secret":""}'), "unusable");
  assert.equal(parseAnswer('{"Username":"","Secret":"x"}'), "unusable");
});
