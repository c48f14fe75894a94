/** Commands that read standard input, as processes of their own at the end of a pipe. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { pack } from "../bundle/luggage.ts";
import { Stage } from "../bundle/stage.ts";
import { makeImage } from "../kit/image.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { programEnvironment } from "../kit/workers.ts";
import { place } from "../meta/rooms.ts";

const MAIN = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
const image = makeImage({ seed: 1, layers: [1000, 300_000] });

async function piped(input: Buffer | string, args: readonly string[]) {
  const child = spawn(process.execPath, [MAIN, ...args], { env: programEnvironment(), stdio: "pipe" });
  const said = { out: "", err: "" };
  child.stdout.on("data", (chunk) => (said.out += String(chunk)));
  child.stderr.on("data", (chunk) => (said.err += String(chunk)));
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { code, ...said };
}

async function config(dir: string, url = "http://127.0.0.1:9"): Promise<string> {
  const file = join(dir, "config.json");
  const cache = { dir: join(dir, "cache"), minFree: 0 };
  const upstreams = { "docker.io": { url, allowPrivate: true } };
  await writeFile(file, JSON.stringify({ admin: { listen: "127.0.0.1:0" }, cache, upstreams }));
  return file;
}

test("import - takes an archive from a pipe; an empty word is none", async () => {
  await using here = await Stage.open();
  await here.put(place("docker.io", "library/demo"), image, "1");
  const bundle = await pack(here, { references: ["demo:1"] });
  await using dir = await makeTempDir("pipe");
  const file = await config(dir.path);
  const took = await piped(bundle, ["import", "-", "--config", file]);
  assert.equal(took.code, 0, took.err);
  assert.match(took.out, new RegExp(`^docker\\.io/library/demo:1 {2}${image.digest}\n`));
  const empty = await piped(bundle, ["import", "", "--config", file]);
  assert.equal(empty.code, 2);
  assert.match(empty.err, /--source: a value is missing/);
});

test("warm --file - takes its list from a pipe", async () => {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", image, "1");
  await using dir = await makeTempDir("pipe");
  const took = await piped("# images\ndemo:1\n", [
    "warm",
    "--file",
    "-",
    "--config",
    await config(dir.path, upstream.url),
  ]);
  assert.equal(took.code, 0, took.err);
  assert.match(took.out, /1 image/);
});
