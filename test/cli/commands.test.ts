/** The commands as a list: each in the help of all, each with a help of its own, each refusing what it does not know. */
import assert from "node:assert/strict";
import test from "node:test";
import { COMMANDS, nameOf } from "../../src/cli/commands.ts";
import { helpWidth } from "../../src/cli/help.ts";
import { say } from "./stage.ts";

test("`wharfinger --help` lists every command with one line", async () => {
  const { code, stdout } = await say(["--help"]);
  assert.equal(code, 0);
  for (const command of COMMANDS) {
    assert.ok(!command.summary.includes("\n") && command.summary.length <= 110, command.usage);
    const words = command.usage.replace(/[[\]<>.]/g, "\\$&");
    assert.match(stdout, new RegExp(`^ +wharfinger ${words} `, "m"));
    // A long summary goes on in the next line.
    assert.ok(stdout.replace(/\s+/g, " ").includes(command.summary), command.summary);
  }
});

test("`--help` is as wide as the terminal, but no wider than can be read", async () => {
  const widths = [100, 110, 400].map((columns) => helpWidth({ isTTY: true, columns }));
  assert.deepEqual(widths, [100, 110, 110]);
  assert.deepEqual([helpWidth({}), helpWidth({ isTTY: true, columns: 0 }), helpWidth({ columns: 200 })], [80, 80, 80]);
});

for (const command of COMMANDS) {
  test(`\`wharfinger ${nameOf(command)}\` explains itself with examples, and refuses a flag that it does not know`, async () => {
    const help = await say([nameOf(command), "--help"]);
    assert.equal(help.code, 0, help.stderr);
    assert.match(help.stdout, /^Examples:$/m);
    assert.match(help.stdout, new RegExp(`^ +wharfinger ${nameOf(command)}\\b`, "m"));
    const wide = help.stdout.split("\n").filter((line) => [...line].length > 80);
    assert.deepEqual(wide, [], "wider than a terminal");
    const groups = [...help.stdout.matchAll(/^(\S.*):$/gm)].map(([, title]) => title);
    const [own, settings] = ["Options", "Settings (as in serve)"].map((title) => groups.indexOf(title));
    assert.ok(own !== undefined && own >= 0 && settings !== undefined && (settings < 0 || own < settings), "own first");
    const refused = await say([nameOf(command), "--no-such-flag-at-all"]);
    assert.equal(refused.code, 2);
    assert.notEqual(refused.stderr, "");
  });
}
