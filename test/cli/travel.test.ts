/** `wharfinger export` and `import`: with a mirror that runs and without one, as archives and directories, to their end and not. */
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { createMirror } from "../../src/app.ts";
import { run } from "../../src/cli/run.ts";
import type { World } from "../../src/cli/world.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { filesUnder, openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";

const index = makeIndex([
  makeImage({ seed: 1, layers: [1000, 900_000] }),
  makeImage({ seed: 2, layers: [300], architecture: "arm64" }),
]);
const [amd] = index.images;
assert.ok(amd !== undefined);

async function wharfinger(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const seen = { stdout: "", stderr: "" };
  const world: World = {
    env: {},
    stdout: { write: (text) => (seen.stdout += text) },
    stderr: { write: (text) => (seen.stderr += text) },
    version: "1.2.3",
    hostName: "box",
    loadMirror: async () => (config, options) => createMirror(config, { version: "1.2.3", ...options }),
    onSignal: () => () => {},
    exit: () => {},
  };
  return { code: await run(args, world), ...seen };
}

/** A configuration of a side of its own; `admin` is that of a mirror that runs there. */
async function side(
  dir: string,
  { upstream, admin, more }: { upstream?: string; admin?: string; more?: object } = {},
): Promise<string> {
  await mkdir(dir, { recursive: true });
  const path = join(dir, "wharfinger.json");
  const upstreams = { "docker.io": { url: upstream ?? "http://127.0.0.1:9", allowPrivate: true } };
  const cache = { dir: join(dir, "cache"), minFree: 0 };
  const config = { listen: "127.0.0.1:0", admin: { listen: admin ?? "127.0.0.1:0" }, cache, upstreams, ...more };
  await writeFile(path, JSON.stringify(config));
  return path;
}

async function warmed(dir: string): Promise<string> {
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", index, "1");
  upstream.shelves.add("library/demo", makeImage({ seed: 5, layers: [7777] }), "2");
  const config = await side(dir, { upstream: upstream.url });
  assert.equal((await wharfinger("warm", "demo:1", "demo:2", "--config", config, "--quiet")).code, 0);
  return config;
}

test("on the stores themselves: an archive, signed; then what is new since; a list of what is there; again", async () => {
  const baseline = openResources();
  await using dir = await makeTempDir("travel");
  const here = await warmed(join(dir.path, "here"));
  const there = await side(join(dir.path, "there"), { more: { offline: true } });
  const keys = generateKeyPairSync("ed25519", {
    privateKeyEncoding: { format: "pem", type: "pkcs8" },
    publicKeyEncoding: { format: "pem", type: "spki" },
  });
  const file = (name: string) => join(dir.path, name);
  await writeFile(file("key.pem"), keys.privateKey);
  await writeFile(file("public.pem"), keys.publicKey);
  const [first, second] = [file("first.tar"), file("second.tar")];

  const wrote = await wharfinger(
    "export",
    "demo:1",
    "-o",
    first,
    "--sign-key",
    file("key.pem"),
    "--config",
    here,
    "--json",
  );
  assert.equal(wrote.code, 0, wrote.stderr);
  const told = JSON.parse(wrote.stdout);
  assert.deepEqual(told.references, [{ name: "docker.io/library/demo:1", digest: index.digest }]);
  assert.equal(told.bytes, (await stat(first)).size);
  assert.equal(told.signed, true);

  const took = await wharfinger("import", first, "--verify-key", file("public.pem"), "--config", there);
  assert.equal(took.code, 0, took.stderr);
  assert.match(
    took.stdout,
    /^docker\.io\/library\/demo:1 {2}sha256:[0-9a-f]{64}\n\d+ pieces, .*; signed by the key, made /,
  );

  const rest = ["demo:1", "demo:2", "--config", here];
  assert.equal((await wharfinger("export", ...rest, "-o", second, "--since", first)).code, 0);
  assert.ok((await stat(second)).size < (await stat(first)).size / 10);
  const unsigned = await wharfinger("import", second, "--verify-key", file("public.pem"), "--config", there);
  assert.equal(unsigned.code, 4);
  assert.match(unsigned.stderr, /not signed/);
  const plain = await wharfinger("import", second, "--config", there);
  assert.equal(plain.code, 0, plain.stderr);
  assert.match(plain.stdout, /; not signed, made /);

  const have = file("have.json");
  assert.equal((await wharfinger("export", "--inventory", "-o", have, "--config", there)).code, 0);
  const third = await wharfinger("export", ...rest, "-o", file("third.tar"), "--have", have, "--json");
  assert.equal(JSON.parse(third.stdout).pieces.carried, 0);

  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": "http://127.0.0.1:9" },
    config: { offline: true },
    dir: join(dir.path, "there", "cache"),
  });
  for (const path of ["manifests/1", "manifests/2", ...[...amd.blobs.keys()].map((digest) => `blobs/${digest}`)]) {
    assert.equal((await get(`${mirror.url}/v2/library/demo/${path}`)).status, 200, path);
  }
  await mirror.mirror.stop();
  assert.deepEqual(await residueSince(baseline), []);
});

test("of and into a mirror that runs, as a directory that others read; what nobody serves is said", async () => {
  await using dir = await makeTempDir("travel");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", index, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const running = async (one: TestMirror, name: string) => {
    const config = join(dir.path, `${name}.json`);
    await writeFile(config, JSON.stringify({ cache: { dir: one.dir }, admin: { listen: new URL(one.adminUrl).host } }));
    return config;
  };
  const here = await running(mirror, "here");
  const out = join(dir.path, "layout");
  const missing = await wharfinger("export", "demo:1", "-o", out, "--config", here);
  assert.equal(missing.code, 3);
  assert.match(
    missing.stderr,
    /docker\.io\/library\/demo:1: it is not stored here\nfetch it first: wharfinger warm docker\.io\/library\/demo:1/,
  );
  assert.equal((await wharfinger("warm", "demo:1", "--config", here, "--quiet")).code, 0);
  const wrote = await wharfinger("export", "demo:1", "-o", out, "--config", here);
  assert.equal(wrote.code, 0, wrote.stderr);
  assert.deepEqual((await readdir(dir.path)).sort(), ["here.json", "layout"]);
  const written = await filesUnder(out);
  assert.deepEqual(written.slice(-3), ["contents.ndjson", "index.json", "oci-layout"]);
  for (const name of written.filter((one) => one.startsWith("blobs/"))) {
    assert.equal(digestOf(await readFile(join(out, name))), `sha256:${name.split("/").at(-1)}`);
  }
  const full = await wharfinger("export", "demo:1", "-o", out, "--config", here);
  assert.equal(full.code, 2);
  assert.match(full.stderr, /is not empty/);

  await using other = await TestMirror.start({ upstreams: { "ghcr.io": upstream }, config: { offline: true } });
  const took = await wharfinger("import", out, "--config", await running(other, "there"));
  assert.equal(took.code, 0, took.stderr);
  assert.match(took.stderr, /docker\.io\/library\/demo:1 is served once docker\.io is configured under upstreams/);
  const again = await wharfinger("import", out, "--json", "--config", await running(other, "there"));
  assert.equal(JSON.parse(again.stdout).taken.blobs, 0);
  assert.deepEqual(await other.partials(), []);

  // What was asked for before it came is served as soon as it is there, by every process.
  await using third = await TestMirror.start({ upstreams: { "docker.io": upstream }, config: { offline: true } });
  const path = `${third.url}/v2/library/demo/manifests/1`;
  assert.equal((await get(path)).status, 404);
  assert.equal((await wharfinger("import", out, "--config", await running(third, "third"), "--quiet")).code, 0);
  for (let round = 0; round < 4; round += 1) assert.deepEqual((await get(path)).body, index.manifest);
  for (const digest of amd.blobs.keys()) {
    assert.equal((await get(`${third.url}/v2/library/demo/blobs/${digest}`)).status, 200);
  }
});

test("a mirror whose file has rotted ends the export, and no file is left", async () => {
  await using dir = await makeTempDir("travel");
  const here = await warmed(join(dir.path, "here"));
  const digest = amd.layers[1]?.digest ?? amd.digest;
  const hex = digest.slice(7);
  const path = join(dir.path, "here", "cache", "v1", "blobs", "sha256", hex.slice(0, 2), hex);
  await chmod(path, 0o600);
  const bytes = await readFile(path);
  bytes.writeUInt8(bytes.readUInt8(800_000) ^ 1, 800_000);
  await writeFile(path, bytes);
  for (const out of ["bundle.tar", "layout"]) {
    const failed = await wharfinger("export", "demo:1", "-o", join(dir.path, out), "--config", here);
    assert.equal(failed.code, 1, failed.stderr);
    assert.match(failed.stderr, new RegExp(`${digest} no longer matches its digest`));
  }
  assert.deepEqual(await readdir(dir.path), ["here"]);
});

test("an import that there is no room for says how much is missing, and nothing that is pinned leaves for it", async () => {
  await using dir = await makeTempDir("travel");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/kept", makeImage({ seed: 8, layers: [700_000] }), "1");
  upstream.shelves.add("library/demo", index, "1");
  const here = await side(join(dir.path, "here"), { upstream: upstream.url });
  const bundle = join(dir.path, "bundle.tar");
  assert.equal((await wharfinger("warm", "demo:1", "--config", here, "--quiet")).code, 0);
  assert.equal((await wharfinger("export", "demo:1", "-o", bundle, "--config", here)).code, 0);
  const cache = { dir: join(dir.path, "there", "cache"), minFree: 0, maxSize: "1MiB" };
  const there = await side(join(dir.path, "there"), { upstream: upstream.url, more: { cache } });
  assert.equal((await wharfinger("warm", "kept:1", "--config", there, "--quiet")).code, 0);
  assert.equal((await wharfinger("pin", "kept:1", "--config", there)).code, 0);
  const failed = await wharfinger("import", bundle, "--config", there);
  assert.equal(failed.code, 1);
  assert.match(
    failed.stderr,
    /there is no room for what the bundle brings: 90\d{4} bytes, [56]\d{5} more than there is room for/,
  );
  assert.equal((await wharfinger("export", "kept:1", "-o", join(dir.path, "kept.tar"), "--config", there)).code, 0);
  assert.equal((await filesUnder(join(cache.dir, "v1", "blobs"))).length, 3);
});

test("bad usage is told before anything is done", async () => {
  await using dir = await makeTempDir("travel");
  const config = await side(join(dir.path, "here"));
  const key = join(dir.path, "key.pem");
  await writeFile(
    key,
    generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "pem", type: "pkcs8" }),
  );
  for (const [args, why] of [
    [["export", "demo:1"], /--output: where/],
    [["export", "-o", "x.tar"], /name what to export/],
    [["export", "demo:1", "-o", "x.tar.gz"], /compressed already/],
    [["export", "demo:1", "-o", "-", "--json", "-"], /--json: standard output is the bundle's/],
    [["import"], /Not enough|source/],
    [["import", config, "--verify-key", key], /private key/],
    [["import", join(dir.path, "nothing.tar")], /ENOENT/],
  ] as const) {
    const { code, stderr } = await wharfinger(...args, "--config", config);
    assert.equal(code, 2, `${args}`);
    assert.match(stderr, why);
  }
  assert.match((await wharfinger("export", "--help")).stdout, /^ *-o, --output /m);
});

test("a list of what the other side has may be as long as a large store makes it, and is told where it is longer", async () => {
  await using dir = await makeTempDir("travel");
  await using upstream = await TestUpstream.start();
  upstream.shelves.add("library/demo", index, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const config = join(dir.path, "here.json");
  const listen = new URL(mirror.adminUrl).host;
  await writeFile(config, JSON.stringify({ cache: { dir: mirror.dir }, admin: { listen } }));
  assert.equal((await wharfinger("warm", "demo:1", "--config", config, "--quiet")).code, 0);
  const have = join(dir.path, "have.json");
  const others = (count: number) =>
    Array.from({ length: count }, (_, at) => `sha256:${at.toString(16).padStart(64, "0")}`);
  const own = [index.digest, ...index.images.flatMap((image) => [image.digest, ...image.blobs.keys()])];
  await writeFile(have, JSON.stringify({ digests: [...others(150_000), ...own] }));
  const out = join(dir.path, "out.tar");
  const wrote = await wharfinger("export", "demo:1", "-o", out, "--have", have, "--json", "--config", config);
  assert.equal(wrote.code, 0, wrote.stderr);
  assert.deepEqual(JSON.parse(wrote.stdout).pieces, { all: own.length, carried: 0, carriedBytes: 0 });
  await writeFile(have, JSON.stringify(others(200_001)));
  const failed = await wharfinger(
    "export",
    "demo:1",
    "-o",
    join(dir.path, "x.tar"),
    "--have",
    have,
    "--config",
    config,
  );
  assert.equal(failed.code, 2);
  assert.match(failed.stderr, /--have: there are 200001 digests, and 200000 at most/);
});

test("a difference never takes the place of what it is a difference to", async () => {
  await using dir = await makeTempDir("travel");
  const here = await warmed(join(dir.path, "here"));
  const [bundle, link] = [join(dir.path, "bundle.tar"), join(dir.path, "link.tar")];
  assert.equal((await wharfinger("export", "demo:1", "-o", bundle, "--config", here)).code, 0);
  const before = await readFile(bundle);
  await symlink(bundle, link);
  for (const [output, base] of [
    [bundle, bundle],
    [link, bundle],
    [bundle, link],
  ] as const) {
    const args = ["export", "demo:1", "demo:2", "-o", output, "--since", base, "--config", here];
    const { code, stderr } = await wharfinger(...args);
    assert.equal(code, 2);
    assert.match(stderr, /--output: .* is what the bundle is a difference to, and would be lost: name another file/);
  }
  assert.ok(before.equals(await readFile(bundle)));
});
