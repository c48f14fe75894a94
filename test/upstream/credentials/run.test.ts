/** Runs that do not come about. */
import assert from "node:assert/strict";
import { ChildProcess } from "node:child_process";
import { test } from "node:test";
import { runBy } from "../../../src/upstream/credentials/run.ts";

const options = { env: {}, input: "x", maxBytes: 100, signal: new AbortController().signal };

test("a program that cannot be started for want of file descriptors is an error of that run alone", async () => {
  // As Node leaves it on EMFILE: without its streams, with `error` to come.
  const start = () => {
    const child = new ChildProcess();
    process.nextTick(() => child.emit("error", Object.assign(new Error("spawn EMFILE"), { code: "EMFILE" })));
    return child;
  };
  await assert.rejects(runBy(start, "/bin/true", [], options), { code: "EMFILE" });
});
