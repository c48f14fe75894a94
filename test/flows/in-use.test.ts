/** What a client is still reading does not leave, whoever answers it, and however its answer began. */
import assert from "node:assert/strict";
import { type ClientRequest, get as httpGet } from "node:http";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { getHashed } from "../kit/http.ts";
import { makeImage, type TestImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";

const MIB = 1024 * 1024;
const OTHERS = 6;

interface Scene {
  readonly mirror: TestMirror;
  readonly layer: string;
  pullLayer(): Promise<void>;
  /** Others, until something has left for them. */
  fillUp(): Promise<void>;
  /** A client that takes no more than fits its sockets. */
  stall(headers?: Readonly<Record<string, string>>): void;
}

async function withScene(workers: number, work: (scene: Scene) => Promise<void>): Promise<void> {
  await using upstream = await TestUpstream.start();
  const big = makeImage({ seed: 99, layers: [12 * MIB] });
  upstream.shelves.add("library/big", big, "1");
  const others = Array.from({ length: OTHERS }, (_, at) => makeImage({ seed: at + 1, layers: [MIB] }));
  for (const [at, image] of others.entries()) upstream.shelves.add(`library/i${at}`, image, "1");
  const config = { workers, tls: undefined, cache: { maxSize: "16MiB", highWatermark: "100%", lowWatermark: "100%" } };
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream }, config });
  const pull = async (name: string, image: TestImage) => {
    for (const path of ["manifests/1", ...[image.config, ...image.layers].map(({ digest }) => `blobs/${digest}`)]) {
      assert.equal((await getHashed(`${mirror.url}/v2/library/${name}/${path}`)).status, 200);
    }
  };
  const layer = big.layers[0]?.digest ?? "";
  let left = 0;
  mirror.mirror.notices.on("evictionEnded", () => {
    left += 1;
  });
  const stalled: ClientRequest[] = [];
  try {
    await work({
      mirror,
      layer,
      async pullLayer() {
        assert.equal((await getHashed(`${mirror.url}/v2/library/big/blobs/${layer}`)).status, 200);
        await mirror.settled();
      },
      async fillUp() {
        for (let at = 0; left < 2 && at < 4 * OTHERS; at += 1) {
          const image = others[at % OTHERS];
          if (image !== undefined) await pull(`i${at % OTHERS}`, image);
          await mirror.settled();
        }
        assert.ok(left > 0, "nothing has left");
      },
      stall(headers = {}) {
        const request = httpGet(`${mirror.url}/v2/library/big/blobs/${layer}`, { agent: false, headers }, () => {});
        request.on("error", () => {});
        stalled.push(request);
      },
    });
  } finally {
    for (const request of stalled) request.destroy();
  }
}

const isStored = async ({ mirror, layer }: Scene) => (await mirror.stored()).includes(layer.slice(7));

for (const workers of [1, 2]) {
  test(`what is read from the file that its fill wrote stays, ${workers} workers`, () =>
    withScene(workers, async (scene) => {
      scene.stall();
      await scene.mirror.until(() => isStored(scene), "it is not stored");
      await scene.mirror.settled();
      await scene.fillUp();
      assert.equal(await isStored(scene), true);
    }));
}

test("what a front reads of the store stays, be it no use that is noted", () =>
  withScene(2, async (scene) => {
    await scene.pullLayer();
    // Going on with a body is the same use as its beginning.
    scene.stall({ range: "bytes=1-" });
    // It is told within a second.
    await sleep(2000);
    await scene.fillUp();
    assert.equal(await isStored(scene), true);
  }));
