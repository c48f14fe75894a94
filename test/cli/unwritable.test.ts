/** Output that nobody takes: quiet where the reader left, one line and exit code 1 where the disk is full. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { EventEmitter } from "node:events";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { guardOutput } from "../../src/cli/unwritable.ts";

const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: it is so, write`), { code });
}

function stage() {
  const said: string[] = [];
  const codes: number[] = [];
  const stdout = new EventEmitter();
  const stderr = Object.assign(new EventEmitter(), { write: (text: string) => said.push(text) });
  guardOutput({ stdout, stderr }, (code) => codes.push(code));
  return { stdout, stderr, said, codes };
}

test("a reader that left is no failure, and nothing is said of it", () => {
  const { stdout, stderr, said, codes } = stage();
  stdout.emit("error", systemError("EPIPE"));
  stderr.emit("error", systemError("EPIPE"));
  assert.deepEqual([said, codes], [[], []]);
});

test("a full disk is told once, and the program has failed", () => {
  const { stdout, said, codes } = stage();
  stdout.emit("error", systemError("ENOSPC"));
  stdout.emit("error", systemError("ENOSPC"));
  assert.deepEqual(said, ["wharfinger: cannot write to standard output: ENOSPC: it is so, write\n"]);
  assert.deepEqual(codes, [1]);
});

test("the program whose reader has left says nothing and ends well", async () => {
  // The tests' own settings are in variables that begin like the program's.
  const env = { PATH: process.env["PATH"] };
  const child: ChildProcess = spawn(process.execPath, [main, "--help"], { stdio: ["ignore", "pipe", "pipe"], env });
  child.stdout?.destroy();
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (part: string) => {
    said += part;
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  assert.deepEqual([said, code], ["", 0]);
});
