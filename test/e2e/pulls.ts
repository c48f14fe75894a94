/**
 * What every client must get from the mirror, told once and run for each of them.
 */
import { strict as assert } from "node:assert";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { TestImage, TestIndex } from "../kit/image.ts";
import { makeTempDir } from "../kit/temp.ts";
import type { ClientKind } from "./daemons.ts";
import { EXPECTED_LINE, makeRunnableImage, makeRunnableIndex } from "./images.ts";
import { Mirror } from "./mirror.ts";
import { Origin } from "./origin.ts";
import { needs } from "./programs.ts";

export function testPulls(kind: ClientKind): void {
  const options = needs([...kind.programs, "docker-registry", "busybox"], { root: true });
  test(`${kind.name} pulls through the mirror`, options, async (t) => {
    await using dir = await makeTempDir(`e2e-${kind.name}`);
    // Undone in reverse order, each whatever became of the others, all before the directory goes.
    await using undo = new AsyncDisposableStack();
    const clientDir = join(dir.path, "client");
    await mkdir(clientDir);
    const origin = await Origin.start(dir.path);
    undo.defer(() => origin.stop());
    const oci = await makeRunnableImage("oci", 1);
    const docker = await makeRunnableImage("docker", 2);
    const index = await makeRunnableIndex("oci", 3);
    await origin.push("library/oci", oci, "1");
    await origin.push("library/schema2", docker, "1");
    await origin.push("library/multi", index, "1");
    const mirror = await Mirror.start({ dir: dir.path, upstreams: { "docker.io": { url: origin.url } } });
    undo.defer(() => mirror.stop());
    let failures = 0;
    undo.defer(() => (failures > 0 ? t.diagnostic(`the mirror said:\n${mirror.output}`) : undefined));
    const part = (title: string, body: () => Promise<void>) =>
      t.test(title, async () => {
        failures += 1;
        await body();
        failures -= 1;
      });
    const client = await kind.start(clientDir, mirror.port);
    undo.defer(() => client.stop());

    for (const [name, image] of Object.entries({ oci, schema2: docker, multi: index })) {
      const reference = `docker.io/library/${name}:1`;
      await part(`cold, ${name}: every digest is asked of the origin once, and the image runs`, async () => {
        await origin.forget();
        await client.pull(reference);
        assert.equal((await client.run(reference)).trim(), EXPECTED_LINE);
        assert.deepEqual(await byDigest(origin, { "1": image.digest }), expectedGets(image));
      });
    }

    /** A client that has nothing pulls everything again and runs it, and the origin hears of no content. */
    const pullAllAgain = async () => {
      await client.wipe();
      await origin.forget();
      for (const name of ["oci", "schema2", "multi"]) {
        const reference = `docker.io/library/${name}:1`;
        await client.pull(reference);
        assert.equal((await client.run(reference)).trim(), EXPECTED_LINE);
      }
      assert.deepEqual(await byDigest(origin, {}), { manifests: {}, blobs: {} });
    };
    await part("warm: a client that has nothing pulls again without a GET at the origin", pullAllAgain);
    // No restart with the origin up comes before this: it would let the mirror learn again what it had forgotten.
    await part("with the origin stopped, too", async () => {
      await origin.stop();
      await pullAllAgain();
    });
    await part("and after a restart of the mirror without the origin", async () => {
      await mirror.restart();
      await pullAllAgain();
    });
  });
}

interface Gets {
  readonly manifests: Record<string, number>;
  readonly blobs: Record<string, number>;
}

/** Successful GETs at the origin per digest; a manifest asked for by tag counts for the digest that the tag names. */
export async function byDigest(origin: Origin, tags: Readonly<Record<string, string>>): Promise<Gets> {
  const manifests: Record<string, number> = {};
  for (const [reference, count] of await origin.gets("manifest")) {
    const digest = tags[reference] ?? reference;
    manifests[digest] = (manifests[digest] ?? 0) + count;
  }
  return { manifests, blobs: Object.fromEntries(await origin.gets("blob")) };
}

/** One GET for each manifest and blob that an amd64 client needs, and none for others; `all`: of every platform. */
export function expectedGets(image: TestImage | TestIndex, { all = false } = {}): Gets {
  const manifests: Record<string, number> = { [image.digest]: 1 };
  const blobs: Record<string, number> = {};
  const images = "images" in image ? image.images.filter((child) => all || child.architecture === "amd64") : [image];
  for (const one of images) {
    manifests[one.digest] = 1;
    for (const digest of one.blobs.keys()) blobs[digest] = 1;
  }
  return { manifests, blobs };
}
