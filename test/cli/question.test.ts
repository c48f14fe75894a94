/** A question at a terminal: answered, or left by Ctrl-C and Ctrl-D. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import test from "node:test";
import { askAt } from "../../src/cli/question.ts";

async function typing(keys: string) {
  const input = new PassThrough();
  const output = new PassThrough();
  let shown = "";
  output.setEncoding("utf8").on("data", (part: string) => {
    shown += part;
  });
  const answer = askAt(input, output, "Sure? [y/N] ", true);
  input.write(keys);
  const given = await answer;
  assert.equal(input.isPaused(), true, "nobody reads on");
  await new Promise((resolve) => output.end(resolve));
  return { given, shown };
}

test("a line is the answer", async () => {
  const { given, shown } = await typing("yes\r");
  assert.equal(given, "yes");
  assert.match(shown, /Sure\? \[y\/N\] /);
});

test("Ctrl-C and Ctrl-D leave the question, and what comes next is a line of its own", async () => {
  for (const [key, left] of [
    ["\x03", "interrupted"],
    ["\x04", "ended"],
  ] as const) {
    const { given, shown } = await typing(key);
    assert.deepEqual(given, { left });
    assert.match(shown, /\n$/);
  }
});
