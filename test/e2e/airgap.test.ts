/**
 * Across the gap: images are fetched on one side, carried over as a bundle, and pulled on the other side by real clients
 * while no upstream can be reached.
 */
import { strict as assert } from "node:assert";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { makeTempDir } from "../kit/temp.ts";
import { type ClientKind, containerd, dockerd, podman, Skopeo } from "./daemons.ts";
import { EXPECTED_LINE, makeRunnableIndex } from "./images.ts";
import { Mirror } from "./mirror.ts";
import { Origin } from "./origin.ts";
import { attempt, run } from "./processes.ts";
import { findProgram, needs, type Program } from "./programs.ts";

const MAIN = process.env["WHARFINGER_E2E_MAIN"] ?? join(import.meta.dirname, "../../src/cli/main.ts");
const CLIENTS: readonly ClientKind[] = [dockerd, containerd, podman];
const options = needs(["skopeo", "docker-registry", "busybox", ...CLIENTS.flatMap(({ programs }) => programs)], {
  root: true,
});

/** The command, on the cache of one side. */
function wharfinger(dir: string, ...args: string[]) {
  return run(process.execPath, [MAIN, ...args, "--config", join(dir, "wharfinger.yaml")]);
}

/** What the client itself writes of an image that it has; false for clients that are not asked. */
async function save(kind: ClientKind, clientDir: string, reference: string, archive: string): Promise<boolean> {
  const find = (program: Program) => findProgram(program) ?? program;
  if (kind === dockerd) {
    await run(find("docker"), ["-H", `unix://${join(clientDir, "docker.sock")}`, "save", "-o", archive, reference]);
    return true;
  }
  if (kind !== containerd) return false;
  await run(find("ctr"), ["-a", join(clientDir, "containerd.sock"), "images", "export", archive, reference]);
  return true;
}

/** Where the upstream seems to be, on the other side: whoever connects is counted. */
async function countingServer(): Promise<{ url: string; server: Server; connections: () => number }> {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.destroy();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return { url: `http://127.0.0.1:${address.port}`, server, connections: () => count };
}

test(
  "three multi-arch images are warmed, exported, imported and pulled where there is no network",
  options,
  async (t) => {
    await using dir = await makeTempDir("e2e-airgap");
    await using undo = new AsyncDisposableStack();
    const [here, there] = [join(dir.path, "here"), join(dir.path, "there")];
    await mkdir(here);
    await mkdir(there);
    const origin = await Origin.start(dir.path);
    undo.defer(() => origin.stop());
    const names = ["one", "two", "three"] as const;
    const indexes = await Promise.all(names.map((_, at) => makeRunnableIndex("oci", 10 + at)));
    for (const [at, name] of names.entries()) {
      const index = indexes[at];
      assert.ok(index !== undefined);
      await origin.push(`library/${name}`, index, "1");
    }
    const references = names.map((name) => `docker.io/library/${name}:1`);
    const bundle = join(dir.path, "first.tar");
    const key = join(dir.path, "key.pem");
    const publicKey = join(dir.path, "public.pem");
    await run("openssl", ["genpkey", "-algorithm", "ed25519", "-out", key]);
    await run("openssl", ["pkey", "-in", key, "-pubout", "-out", publicKey]);

    const mirror = await Mirror.start({ dir: here, upstreams: { "docker.io": { url: origin.url } } });
    undo.defer(() => mirror.stop());

    await t.test("what is not stored whole is not exported, and the command says what to do", async () => {
      const args = [MAIN, "export", ...references, "-o", bundle, "--config", join(here, "wharfinger.yaml")];
      const refused = await attempt(process.execPath, args);
      assert.equal(refused.status, 3, refused.stderr);
      assert.match(refused.stderr, /wharfinger warm docker\.io\/library\/one:1/);
      await assert.rejects(stat(bundle));
    });

    await t.test("warmed and exported by a running mirror, signed", async () => {
      await wharfinger(here, "warm", ...references);
      await wharfinger(here, "export", ...references, "-o", bundle, "--sign-key", key);
    });

    await t.test("others read it: skopeo the layout, openssl the signature", async () => {
      const layout = join(dir.path, "layout");
      await wharfinger(here, "export", ...references, "-o", layout, "--sign-key", key);
      const skopeo = findProgram("skopeo") ?? "skopeo";
      for (const [at, reference] of references.entries()) {
        const { stdout } = await run(skopeo, ["inspect", `oci:${layout}:${reference}`]);
        assert.equal(JSON.parse(stdout).Architecture, "amd64");
        const raw = await run(skopeo, ["inspect", "--raw", `oci:${layout}:${reference}`]);
        assert.equal(raw.stdout, indexes[at]?.manifest.toString());
        const archived = await run(skopeo, ["inspect", "--raw", `oci-archive:${bundle}:${reference}`]);
        assert.equal(archived.stdout, raw.stdout);
      }
      const contents = join(layout, "contents.ndjson");
      await run("openssl", [
        ...["pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", publicKey],
        ...["-sigfile", `${contents}.sig`, "-in", contents],
      ]);
    });

    const changed = await makeRunnableIndex("oci", 20);
    await t.test("a second export since the first carries only what is new", async () => {
      await origin.push("library/four", changed, "1");
      const four = "docker.io/library/four:1";
      await wharfinger(here, "warm", four);
      const second = join(dir.path, "second.tar");
      await wharfinger(here, "export", ...references, four, "-o", second, "--since", bundle, "--sign-key", key);
      const fresh = changed.images.reduce((sum, image) => {
        return sum + image.manifest.length + [...image.blobs.values()].reduce((bytes, blob) => bytes + blob.length, 0);
      }, changed.manifest.length);
      const shared = new Set(indexes.flatMap((index) => index.images.flatMap((image) => [...image.blobs.keys()])));
      const common = changed.images.flatMap((image) => [...image.blobs]).filter(([digest]) => shared.has(digest));
      const expected = fresh - common.reduce((sum, [, blob]) => sum + blob.length, 0);
      const [firstBytes, secondBytes] = [(await stat(bundle)).size, (await stat(second)).size];
      t.diagnostic(`first ${firstBytes} bytes, second ${secondBytes}, new content ${expected}`);
      assert.ok(secondBytes >= expected && secondBytes < expected + 64 * 1024, `${secondBytes} for ${expected}`);
    });

    await mirror.stop();
    await origin.stop();
    const gone = await countingServer();
    undo.defer(() => new Promise<void>((resolve) => gone.server.close(() => resolve())));
    const config = { offline: true };
    const beyond = await Mirror.start({ dir: there, upstreams: { "docker.io": { url: gone.url } }, config });
    undo.defer(() => beyond.stop());
    let failures = 0;
    undo.defer(() => (failures > 0 ? t.diagnostic(`the mirror said:\n${beyond.output}`) : undefined));
    const part = (title: string, body: () => Promise<void>) =>
      t.test(title, async () => {
        failures += 1;
        await body();
        failures -= 1;
      });

    await part("on the other side, both bundles are taken in by a running mirror, in their order", async () => {
      const second = join(dir.path, "second.tar");
      const args = [MAIN, "import", second, "--verify-key", publicKey, "--config", join(there, "wharfinger.yaml")];
      const early = await attempt(process.execPath, args);
      assert.equal(early.status, 3, early.stderr);
      const { stdout } = await wharfinger(there, "import", bundle, "--verify-key", publicKey);
      assert.match(stdout, /signed by the key/);
      await wharfinger(there, "import", second, "--verify-key", publicKey);
      const again = await wharfinger(there, "import", bundle, "--verify-key", publicKey, "--json");
      assert.equal(JSON.parse(again.stdout).taken.blobs, 0);
    });

    await part("skopeo pulls all platforms", async () => {
      const skopeo = new Skopeo(dir.path);
      for (const [at, reference] of references.entries()) {
        const out = await skopeo.copy(beyond.url, reference, `copy-${at}`, { all: true });
        assert.deepEqual(await readFile(join(out, "manifest.json")), indexes[at]?.manifest);
      }
    });

    for (const kind of CLIENTS) {
      await part(`${kind.name} pulls and runs them`, async () => {
        const clientDir = join(dir.path, kind.name);
        await mkdir(clientDir);
        const client = await kind.start(clientDir, beyond.port);
        try {
          for (const reference of [...references, "docker.io/library/four:1"]) {
            await client.pull(reference);
            assert.equal((await client.run(reference)).trim(), EXPECTED_LINE);
          }
          const archive = join(dir.path, `${kind.name}.tar`);
          if (!(await save(kind, clientDir, references[0] ?? "", archive))) return;
          const own = join(dir.path, `of-${kind.name}`);
          await mkdir(own);
          const nowhere = {
            listen: "127.0.0.1:0",
            admin: { listen: "127.0.0.1:0" },
            cache: { dir: join(own, "cache") },
          };
          await writeFile(join(own, "wharfinger.yaml"), JSON.stringify(nowhere));
          const { stdout } = await wharfinger(own, "import", archive);
          assert.match(stdout, /^docker\.io\/library\/one:1 {2}sha256:/);
          await wharfinger(own, "export", "one:1", "--platform", "linux/amd64", "-o", join(own, "layout"));
        } finally {
          await client.stop();
        }
      });
    }
    assert.equal(gone.connections(), 0, "nobody was connected to");
  },
);
