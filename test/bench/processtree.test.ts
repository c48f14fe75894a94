/** What a tree of processes costs. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { parseStat, readTree, treeCpuSeconds, treeMemoryBytes, treeOf } from "../../bench/processtree.ts";

const stat = (pid: number, name: string, parent: number, ticks: readonly number[]) =>
  `${pid} (${name}) S ${parent} 1 1 0 -1 4194560 1 2 3 4 ${ticks.join(" ")} 20 0 1 0 100 1000 10`;

test("a stat line is read whatever the process calls itself", () => {
  for (const name of ["node", "a b", "x) S 1 (y", ""]) {
    assert.deepEqual(parseStat(stat(12, name, 3, [1, 20, 300, 4000])), { pid: 12, parent: 3, cpuTicks: 4321 });
  }
  assert.equal(parseStat(""), undefined);
  assert.equal(parseStat("12 (node) S 3"), undefined);
});

test("a tree is the process and all its descendants, and nobody else", () => {
  const of = (pid: number, parent: number) => ({ pid, parent, cpuTicks: pid });
  const all = [of(1, 0), of(30, 20), of(10, 1), of(20, 10), of(40, 1), of(21, 10)];
  assert.deepEqual(
    treeOf(10, all).map(({ pid }) => pid),
    [10, 20, 21, 30],
  );
  assert.deepEqual(treeOf(99, all), []);
});

const linux = process.platform === "linux" ? false : "needs /proc";

test("children count while they run and after they have ended", { skip: linux }, async () => {
  // The child works for 60 ms of processor time, says so, and ends when it is told to.
  const child = `const until = process.cpuUsage().user + 6e4; while (process.cpuUsage().user < until);
    process.stdout.write("."); process.stdin.once("data", () => process.exit()); setTimeout(process.exit, 2e4);`;
  const parent = `const { spawn } = require("node:child_process");
    const child = spawn(process.execPath, ["-e", ${JSON.stringify(child)}], { stdio: ["pipe", "pipe", "inherit"] });
    child.stdout.once("data", () => process.stdout.write("worked\\n"));
    process.stdin.once("data", () => child.stdin.write("end"));
    child.once("exit", () => process.stdout.write("ended\\n"));
    setTimeout(process.exit, 2e4);`;
  const root = spawn(process.execPath, ["-e", parent], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    assert.ok(root.pid !== undefined);
    await once(root.stdout, "data");
    const members = readTree(root.pid);
    assert.equal(members.length, 2);
    const running = treeCpuSeconds(root.pid);
    assert.ok(running >= 0.06, `${running} s`);
    // Two runtimes are more than one.
    const [own = 0] = [treeMemoryBytes(members[1]?.pid ?? 0, "VmRSS")];
    assert.ok(treeMemoryBytes(root.pid, "VmRSS") > own && own > 0);
    root.stdin.write("go on");
    await once(root.stdout, "data");
    assert.equal(readTree(root.pid).length, 1);
    assert.ok(treeCpuSeconds(root.pid) >= running, "what the child had used is not lost");
  } finally {
    const exited = once(root, "exit");
    root.kill("SIGKILL");
    await exited;
  }
});
