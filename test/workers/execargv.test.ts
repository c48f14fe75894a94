/** What fronts inherit of the options that Node was started with. */
import assert from "node:assert/strict";
import test from "node:test";
import { handedOn } from "../../src/workers/execargv.ts";

test("fronts run with the options of their parent, values included", () => {
  const options = ["--max-old-space-size=512", "--import", "./trace.ts", "-r", "./x.cjs", "--use-openssl-ca"];
  assert.deepEqual(handedOn(options), options);
});

test("what is one process's alone stays with it, values included", () => {
  const alone = ["--inspect-brk=0", "--cpu-prof", "--cpu-prof-dir", "out", "--test", "--test-reporter=spec"];
  const run = ["--input-type=module", "-e", "start()", "--watch", "--prof"];
  assert.deepEqual(handedOn([...alone, "--no-warnings", ...run, "--stack-size=2000"]), [
    "--no-warnings",
    "--stack-size=2000",
  ]);
});
