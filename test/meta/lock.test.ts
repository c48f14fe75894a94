/** One process per cache directory, and a second one is told which. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { holdDirectory } from "../../src/meta/lock.ts";
import { openIndex } from "../../src/meta/recovery.ts";
import { makeTempDir } from "../kit/temp.ts";

const refusal = (pattern: RegExp) => (error: unknown) => isFailure(error, "storage") && pattern.test(error.message);

test("whoever comes second is told the process, its command and since when", async () => {
  await using dir = await makeTempDir("lock");
  const hold = holdDirectory(dir.path);
  const who = new RegExp(`in use by another process: pid ${process.pid} \\(.+\\), since \\d{4}-\\d\\d-\\d\\dT`);
  assert.throws(() => holdDirectory(dir.path), refusal(who));
  hold.release();
  assert.equal(existsSync(join(dir.path, "owner.json")), false);
  holdDirectory(dir.path).release();
});

test("what is written of the owner is never asked whether there is one", async () => {
  await using dir = await makeTempDir("lock");
  const owner = join(dir.path, "owner.json");
  const stale = { pid: 1, host: hostname(), command: "wharfinger serve", since: "2026-01-01T00:00:00Z" };
  for (const text of [JSON.stringify(stale), "{", "", "[]", "null", '{"pid":"x"}']) {
    writeFileSync(owner, text);
    const hold = holdDirectory(dir.path);
    assert.equal(JSON.parse(readFileSync(owner, "utf8")).pid, process.pid);
    // Whatever became of it meanwhile, the directory is held, and the refusal is one line.
    writeFileSync(owner, text);
    assert.throws(() => holdDirectory(dir.path), refusal(/in use by another process[^\n]*$/));
    hold.release();
  }
});

test("an owner on another machine, with a strange command, is told in one printable line", async () => {
  await using dir = await makeTempDir("lock");
  const hold = holdDirectory(dir.path);
  const strange = { pid: 7, host: "ship-2", command: "a\u001b[31m\nb".repeat(100), since: "2026-01-01T00:00:00Z" };
  writeFileSync(join(dir.path, "owner.json"), JSON.stringify(strange));
  assert.throws(
    () => holdDirectory(dir.path),
    (error) =>
      isFailure(error, "storage") &&
      /pid 7 on ship-2 \(a\?\[31m\?b/.test(error.message) &&
      /^[\x20-\x7e]{1,500}$/.test(error.message.replace(dir.path, "")),
  );
  hold.release();
});

test("a lock file that was overwritten is put right, and one that is no file is a clear failure", async () => {
  await using dir = await makeTempDir("lock");
  const lock = join(dir.path, "lock.sqlite");
  writeFileSync(lock, Buffer.alloc(5000, "no lock "));
  const hold = holdDirectory(dir.path);
  assert.throws(() => holdDirectory(dir.path), refusal(/in use/));
  hold.release();
  await using other = await makeTempDir("lock");
  mkdirSync(join(other.path, "lock.sqlite"));
  assert.throws(() => holdDirectory(other.path), refusal(/cannot lock .*lock\.sqlite: .*may write/));
});

const HOLD = `
import { openIndex } from ${JSON.stringify(new URL("../../src/meta/recovery.ts", import.meta.url).href)};
openIndex(process.argv[2], process.argv[3] === "shared");
process.stdout.write("held");
process.stdin.resume();
`;

for (const mode of ["sole", "shared"]) {
  test(`a ${mode} index of another process is refused by its pid, and free when that was killed`, async () => {
    await using dir = await makeTempDir("lock");
    const script = join(dir.path, "hold.mjs");
    writeFileSync(script, HOLD);
    const other = spawn(process.execPath, [script, dir.path, mode], { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(other, "exit");
    try {
      await once(other.stdout, "data");
      for (const shared of [true, false]) {
        assert.throws(() => openIndex(dir.path, shared), refusal(new RegExp(`pid ${other.pid} \\(hold\\.mjs`)));
      }
    } finally {
      other.kill("SIGKILL");
      await ended;
    }
    const index = openIndex(dir.path, false);
    assert.equal(index.recovery, undefined, "a kill is no damage");
    assert.equal(index.reconcileDue, true, "but it is no clean end either");
    index.close();
  });
}
