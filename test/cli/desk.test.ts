/** Whom a command asks: the mirror that runs on its cache, the store itself, or nobody, and why. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import test from "node:test";
import { createMirror } from "../../src/app.ts";
import { isFailure } from "../../src/base/failure.ts";
import { openDesk } from "../../src/cli/desk-open.ts";
import type { World } from "../../src/cli/world.ts";
import { type Config, schema } from "../../src/config/schema.ts";
import { TestMirror } from "../kit/mirror.ts";
import { filesUnder, openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";

const UPSTREAMS = { "docker.io": "http://192.0.2.1:1" };

const world: World = {
  env: {},
  stdout: { write: () => {} },
  stderr: { write: () => {} },
  version: "1.2.3",
  hostName: "box",
  loadMirror: async () => (config, options) => createMirror(config, { version: "1.2.3", ...options }),
  onSignal: () => () => {},
  exit: () => {},
};

function configFor(dir: string, admin = "127.0.0.1:0"): Config {
  return schema.parse({ admin: { listen: admin }, cache: { dir, minFree: 0 } });
}

function dirOf(status: object): unknown {
  return "cache" in status && typeof status.cache === "object" && status.cache !== null && "dir" in status.cache
    ? status.cache.dir
    : undefined;
}

test("where a mirror runs on the cache it is asked, wherever it listens", async () => {
  const baseline = openResources();
  {
    await using mirror = await TestMirror.start({ upstreams: UPSTREAMS });
    for (const admin of ["127.0.0.1:0", "127.0.0.1:1", new URL(mirror.adminUrl).host]) {
      const desk = await openDesk(configFor(mirror.dir, admin), world, "look");
      assert.equal(desk.remote, true, admin);
      assert.equal(dirOf(await desk.call("GET", "/api/v1/status")), mirror.dir);
      await assert.rejects(desk.call("GET", "/api/v1/nothing"), (error) => isFailure(error, "unknown"));
      await desk.close();
    }
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("where none runs, the store itself is asked, and let go of again", async () => {
  const baseline = openResources();
  await using dir = await makeTempDir("desk");
  const config = configFor(dir.path);
  for (let round = 0; round < 2; round++) {
    const desk = await openDesk(config, world, "look");
    assert.equal(desk.remote, false);
    assert.equal(dirOf(await desk.call("GET", "/api/v1/status")), dir.path);
    await assert.rejects(desk.call("GET", "/api/v1/nothing"), (error) => isFailure(error, "unknown"));
    await desk.close();
  }
  assert.deepEqual(await filesUnder(dir.path, (path) => path.includes("owner")), []);
  assert.deepEqual(await residueSince(baseline), []);
});

test("a mirror of another cache is not asked, and neither is whatever else listens there", async () => {
  await using other = await TestMirror.start({ upstreams: UPSTREAMS });
  await using dir = await makeTempDir("desk");
  const desk = await openDesk(configFor(dir.path, new URL(other.adminUrl).host), world, "look");
  assert.equal(desk.remote, false);
  await desk.close();
  const server = createServer((_request, response) => response.end('{"product":"nginx"}'));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const second = await openDesk(configFor(dir.path, `127.0.0.1:${port}`), world, "look");
  assert.equal(second.remote, false);
  await second.close();
  server.close();
});

test("a signpost of a mirror that is gone leads nobody astray", async () => {
  await using dir = await makeTempDir("desk");
  const gone = { instance: "x", pid: 1, host: "box", version: "1", admin: { host: "127.0.0.1", port: 1 } };
  for (const text of [JSON.stringify(gone), "{", "null", '{"instance":1}', "x".repeat(100_000)]) {
    await writeFile(join(dir.path, "owner.json"), text);
    const desk = await openDesk(configFor(dir.path), world, "look");
    assert.equal(desk.remote, false, text.slice(0, 40));
    await desk.close();
  }
});

test("a cache that is not there is not made by looking at it", async () => {
  await using dir = await makeTempDir("desk");
  const missing = join(dir.path, "no", "such");
  await assert.rejects(openDesk(configFor(missing), world, "look"), (error) => isFailure(error, "unknown"));
  assert.deepEqual(await filesUnder(dir.path), []);
});

test("a store that another process holds, which cannot be asked, is told with what to do", async () => {
  await using dir = await makeTempDir("desk");
  const script = `
    const { createMirror } = await import(${JSON.stringify(new URL("../../src/app.ts", import.meta.url).href)});
    const { schema } = await import(${JSON.stringify(new URL("../../src/config/schema.ts", import.meta.url).href)});
    await createMirror(schema.parse({ cache: { dir: process.argv[1], minFree: 0 } }), { log: false });
    process.stdout.write("held");
    setTimeout(() => {}, 60_000);
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script, dir.path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(child.stdout, "data");
    await assert.rejects(openDesk(configFor(dir.path, "127.0.0.1:1"), world, "look"), (error: unknown) => {
      assert.ok(isFailure(error, "storage"));
      assert.match(error.message, /in use by .*no admin API of it answers at 127\.0\.0\.1:1.*--admin-listen/);
      return true;
    });
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
});
