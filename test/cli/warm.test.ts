/** `wharfinger warm`: with a mirror that runs and without one, on a terminal and elsewhere, to its end and not. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { createMirror } from "../../src/app.ts";
import { run } from "../../src/cli/run.ts";
import { referencesIn } from "../../src/cli/warm-options.ts";
import { type EndedImage, exitCodeOfWarm, imageText } from "../../src/cli/warm-text.ts";
import type { Output, StopSignal, World } from "../../src/cli/world.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { Screen } from "../kit/screen.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";

interface Stage {
  readonly world: World;
  readonly stdout: () => string;
  readonly stderr: () => string;
  readonly interrupt: () => void;
}

function stageOf(terminal?: Output): Stage {
  const seen = { stdout: "", stderr: "" };
  let interrupt: (signal: StopSignal) => void = () => {};
  return {
    world: {
      env: {},
      stdout: { write: (text) => (seen.stdout += text) },
      stderr: terminal ?? { write: (text) => (seen.stderr += text) },
      version: "1.2.3",
      hostName: "box",
      loadMirror: async () => (config, options) => createMirror(config, { version: "1.2.3", ...options }),
      onSignal: (listener) => {
        interrupt = listener;
        return () => {};
      },
      exit: () => {},
    },
    stdout: () => seen.stdout,
    stderr: () => seen.stderr,
    interrupt: () => interrupt("SIGINT"),
  };
}

async function configFile(dir: string, upstream: TestUpstream, admin: string): Promise<string> {
  const path = join(dir, "wharfinger.json");
  const upstreams = { "docker.io": { url: upstream.url, allowPrivate: true } };
  const cache = { dir: join(dir, "cache"), minFree: 0 };
  await writeFile(path, JSON.stringify({ listen: "127.0.0.1:0", admin: { listen: admin }, cache, upstreams }));
  return path;
}

test("without a mirror that runs it works on the store itself, and says what is there", async () => {
  const baseline = openResources();
  await using dir = await makeTempDir("warm");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage({ layers: [1024 * 1024], seed: 1 }), "1");
  const config = await configFile(dir.path, upstream, "127.0.0.1:0");
  const first = stageOf();
  assert.equal(await run(["warm", "demo:1", "--config", config], first.world), 0, first.stderr());
  assert.match(first.stderr(), /^demo:1: 1 MiB fetched in \d+ m?s\n$/);
  assert.match(first.stdout(), /^1 image: warm; 1 MiB fetched, 0 bytes were here; \d+ m?s\n$/);
  const second = stageOf();
  assert.equal(await run(["warm", "demo:1", "--json", "--config", config], second.world), 0, second.stderr());
  assert.match(second.stderr(), /^demo:1: was here already, 1 MiB\n$/);
  const { images, fetchedBytes, failed } = JSON.parse(second.stdout());
  assert.deepEqual([images, fetchedBytes, failed], [1, 0, []]);
  await upstream.close();
  assert.deepEqual(await residueSince(baseline), []);
});

test("a mirror that runs is asked; what failed is said, and the exit code tells how", async () => {
  await using dir = await makeTempDir("warm");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage({ seed: 2 }), "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const config = join(dir.path, "wharfinger.json");
  await writeFile(
    config,
    JSON.stringify({ cache: { dir: mirror.dir }, admin: { listen: new URL(mirror.adminUrl).host } }),
  );
  const list = join(dir.path, "images.txt");
  await writeFile(list, "# what we need\ndemo:1   # the demo\n\n");
  const warm = async (...args: string[]) => {
    const stage = stageOf();
    const code = await run(["warm", "--config", config, ...args], stage.world);
    return { code, stdout: stage.stdout(), stderr: stage.stderr() };
  };
  assert.equal((await warm("--file", list, "--platform", "linux/amd64")).code, 0);
  assert.ok((await mirror.stored()).length > 0);
  const gone = await warm("demo:1", "demo:gone");
  assert.equal(gone.code, 3);
  assert.match(
    gone.stdout,
    /^2 images: 1 warm, 1 failed; .*\n {2}demo:gone: FAILED: docker\.io has no library\/demo:gone\n$/,
  );
  const quiet = await warm("--quiet", "demo:1", "demo:gone");
  assert.deepEqual([quiet.stdout, quiet.stderr], ["", "demo:gone: FAILED: docker.io has no library/demo:gone\n"]);
  for (const bad of [
    [],
    ["UPPER"],
    ["demo", "--platform", "linux"],
    ["demo", "--wait", "soon"],
    ["--file", "/no/such"],
  ]) {
    const { code, stderr } = await warm(...bad);
    assert.equal(code, 2, `${bad}: ${stderr}`);
  }
});

test("a terminal shows what runs, and keeps what has ended", async () => {
  await using dir = await makeTempDir("warm");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage({ layers: [500_000], seed: 3 }), "1");
  upstream.shelves.add("library/demo", makeImage({ layers: [1000], seed: 4 }), "2");
  const gate = upstream.gate({ kind: "blob", method: "GET" }, 200_000);
  const screen = new Screen(100, 24);
  const stage = stageOf(screen);
  const config = await configFile(dir.path, upstream, "127.0.0.1:0");
  const running = run(["warm", "demo:1", "demo:2", "--config", config], stage.world);
  await gate.reached;
  const until = performance.now() + 10_000;
  const isShown = () => screen.lines.some((line) => /^1 of 2 images .*\[=+> +\] .* of 490/.test(line));
  while (!isShown() && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(isShown(), screen.lines.join("\n"));
  assert.match(screen.lines.join("\n"), /^demo:2: .* fetched in .*\ndemo:1 +\[=+> +\]/);
  gate.release();
  assert.equal(await running, 0);
  assert.equal(screen.lines.length, 2, screen.lines.join("\n"));
  assert.match(stage.stdout(), /^2 images: warm;/);
});

test("Ctrl-C ends it with what is there, and the next run goes on", async () => {
  await using dir = await makeTempDir("warm");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage({ layers: [1000], seed: 5 }), "1");
  const large = makeImage({ layers: [500_000], seed: 6 });
  upstream.shelves.add("library/demo", large, "2");
  const gate = upstream.gate({ kind: "blob", reference: large.layers[0]?.digest ?? "" }, 100_000);
  const config = await configFile(dir.path, upstream, "127.0.0.1:0");
  const stage = stageOf();
  const running = run(["warm", "demo:1", "demo:2", "--config", config], stage.world);
  await gate.reached;
  const until = performance.now() + 10_000;
  while (!stage.stderr().includes("demo:1") && performance.now() < until) await new Promise((r) => setTimeout(r, 10));
  stage.interrupt();
  setTimeout(() => gate.release(), 50);
  assert.equal(await running, 130);
  assert.match(stage.stdout(), /^stopped; what was fetched is kept\n1 image: warm; /);
  const again = stageOf();
  assert.equal(await run(["warm", "demo:1", "demo:2", "--config", config], again.world), 0);
  assert.match(again.stderr(), /^demo:1: was here already/m);
});

test("a list comes from standard input as well, and the process ends by itself", async () => {
  await using dir = await makeTempDir("warm");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", makeImage({ seed: 7 }), "1");
  const config = await configFile(dir.path, upstream, "127.0.0.1:0");
  const main = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));
  const child = spawn(process.execPath, [main, "warm", "--file", "-", "--config", config]);
  let said = "";
  child.stdout.on("data", (text) => {
    said += text;
  });
  child.stderr.on("data", (text) => {
    said += text;
  });
  child.stdin.end("demo:1\ndemo:gone\n");
  const [code] = await once(child, "close");
  assert.equal(code, 3, said);
  assert.match(said, /2 images: 1 warm, 1 failed/);
});

test("lists have comments and empty lines, and what is said is harmless", () => {
  assert.deepEqual(referencesIn("a:1\r\n\n # b\n  c@x # d\n#e"), ["a:1", "c@x"]);
  const image: EndedImage = {
    event: "image",
    reference: "demo:1\u001b[2J",
    digest: "",
    manifests: 1,
    blobs: 2,
    durationMs: 90_000,
    fetchedBytes: 3 * 1024 * 1024,
    storedBytes: 1024,
    missingPlatforms: ["linux/s390x"],
  };
  assert.equal(imageText(image), "demo:1 [2J: 3 MiB fetched in 90 s, 1 KiB were here; there is none for linux/s390x");
});

test("exit codes: what may work another time goes before what was refused, and that before what does not exist", () => {
  const codeOf = (...kinds: string[]) => exitCodeOfWarm(kinds.map((kind) => ({ kind })));
  assert.equal(codeOf(), 0);
  assert.equal(codeOf("unknown", "unknown"), 3);
  assert.equal(codeOf("unknown", "denied"), 4);
  assert.equal(codeOf("unknown", "refused", "unreachable"), 1);
  assert.equal(codeOf("bug"), 1);
});
