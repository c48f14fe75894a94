/** Imports that a running mirror refuses while they are still sent: the reason arrives, and its exit code. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { createMirror } from "../../src/app.ts";
import { blobPath } from "../../src/bundle/layout.ts";
import { run } from "../../src/cli/run.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { tarOf } from "../bundle/luggage.ts";
import { seededBytes } from "../kit/content.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";

const LAYOUT = { name: "oci-layout", bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}') };
const blob = (seed: number) => {
  const bytes = seededBytes(2_000_000, seed);
  return { name: blobPath(digestOf(bytes)), bytes };
};
/** More than any socket's buffers hold, before and behind what is wrong. */
const MANY = Array.from({ length: 16 }, (_, seed) => blob(seed));
const EVIL = { name: "../evil", bytes: Buffer.from("x") };

async function imported(config: string, ...args: string[]): Promise<{ code: number; stderr: string }> {
  let stderr = "";
  const code = await run(["import", ...args, "--config", config], {
    env: {},
    stdout: { write: () => {} },
    stderr: { write: (text) => (stderr += text) },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => (config, options) => createMirror(config, { version: "1.2.3", ...options }),
    onSignal: () => () => {},
    exit: () => {},
  });
  return { code, stderr };
}

test("what is wrong at the beginning, in the middle and at the end, and a signature that is missing", async () => {
  const baseline = openResources();
  await using dir = await makeTempDir("refused");
  {
    await using mirror = await TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" } });
    const config = join(dir.path, "config.json");
    const listen = new URL(mirror.adminUrl).host;
    await writeFile(config, JSON.stringify({ cache: { dir: mirror.dir }, admin: { listen } }));
    const key = join(dir.path, "public.pem");
    await writeFile(key, generateKeyPairSync("ed25519").publicKey.export({ format: "pem", type: "spki" }));
    const archive = join(dir.path, "archive.tar");
    for (const files of [
      [LAYOUT, EVIL, ...MANY],
      [LAYOUT, ...MANY.slice(0, 8), EVIL, ...MANY.slice(8)],
      [LAYOUT, ...MANY, EVIL],
    ]) {
      await writeFile(archive, tarOf(files));
      const { code, stderr } = await imported(config, archive);
      assert.match(stderr, /the archive is refused: "\.\.\/evil" is a name that is not let in/);
      assert.equal(code, 2);
    }
    const { code, stderr } = await imported(config, archive, "--verify-key", key);
    assert.match(stderr, /the archive is not signed/);
    assert.equal(code, 4);
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("a client that reads only when it has sent all it has gets the reason, and sees the connection end", async () => {
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": "http://127.0.0.1:9" } });
  const { port } = new URL(mirror.adminUrl);
  const archive = tarOf([LAYOUT, EVIL, ...MANY.slice(0, 4)]);
  const socket = connect(Number(port), "127.0.0.1").pause();
  socket.write(
    `POST /api/v1/import HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-tar\r\nContent-Length: ${archive.length}\r\n\r\n`,
  );
  socket.write(archive.subarray(0, archive.length - 1000));
  if (socket.writableNeedDrain) await once(socket, "drain");
  let answer = "";
  for await (const chunk of socket.resume()) {
    answer += String(chunk);
    if (answer.includes("not let in")) socket.write(archive.subarray(archive.length - 1000));
  }
  assert.match(answer, /^HTTP\/1\.1 400 .*\r\nConnection: close\r\n.*"kind":"invalid".*not let in/is);
});
