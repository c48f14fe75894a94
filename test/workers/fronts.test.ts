/** Front processes that die, or cannot be started, at awkward moments. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { isFailure } from "../../src/base/failure.ts";
import { openPort, PROGRAM, play, until } from "./playing.ts";

test("a front that dies while others are starting is replaced", async () => {
  const { fronts, ended } = play([{ dies: true }, { lateMs: 600 }, {}], 2);
  await fronts.start(await openPort());
  await until(() => fronts.complete);
  assert.equal(ended.length, 1);
  await fronts.stop(0);
  assert.equal(fronts.up, 0);
});

test("a front that cannot be started is tried again", async () => {
  const programs = [PROGRAM, new URL("http://127.0.0.1/"), PROGRAM];
  const { fronts, ended } = play([{ dies: true }, {}], 1, programs);
  await fronts.start(await openPort());
  await until(() => ended.length === 2 && fronts.complete);
  assert.match(ended[1] ?? "", /could not be started/);
  await fronts.stop(0);
});

test("a mirror that is stopped before its port is bound starts nobody", async () => {
  const { fronts } = play([{}], 2);
  await fronts.stop(0);
  await assert.rejects(fronts.start(await openPort()), (error) => isFailure(error, "overloaded"));
  assert.deepEqual(fronts.counts, []);
});

test("what a front has counted is told once, though it dies while others are asked", async () => {
  const { fronts, buried } = play([{ counts: ["of the first"] }, {}], 2);
  await fronts.start(await openPort());
  await fronts.recount();
  assert.deepEqual(buried.flat(), ["of the first"]);
  assert.deepEqual(fronts.counts.flat(), []);
  await fronts.stop(0);
});

test("a process that has no descriptors left for a front goes on, and tries again", async () => {
  const program = fileURLToPath(new URL("./without-descriptors.ts", import.meta.url));
  const shell = 'ulimit -n 80 && exec "$0" "$1"';
  const { stdout } = await promisify(execFile)("sh", ["-c", shell, process.execPath, program], { timeout: 20_000 });
  assert.match(stdout, /^replaced after: exit code 3(; it could not be started: spawn \S+ EMFILE)+$/);
});
