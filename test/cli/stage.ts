/** A command line whose streams are kept, for commands that start no mirror. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { run } from "../../src/cli/run.ts";
import type { World } from "../../src/cli/world.ts";
import { makeTempDir } from "../kit/temp.ts";

export interface Said {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `wharfinger <args>` in this process. */
export async function say(args: readonly string[], env: World["env"] = {}): Promise<Said> {
  const seen = { stdout: "", stderr: "" };
  const world: World = {
    env,
    stdout: { write: (text) => (seen.stdout += text) },
    stderr: { write: (text) => (seen.stderr += text) },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => assert.fail("no mirror is needed"),
    onSignal: () => () => {},
    exit: () => {},
  };
  const code = await run(args, world);
  return { code, ...seen };
}

/** A file that lives as long as the test; its path. */
export async function fileOf(t: TestContext, name: string, text: string): Promise<string> {
  const dir = await makeTempDir("file");
  t.after(() => dir[Symbol.asyncDispose]());
  const path = join(dir.path, name);
  writeFileSync(path, text);
  return path;
}
