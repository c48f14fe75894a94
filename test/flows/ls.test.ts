/** What is stored, as people think of it: the listing, by HTTP and by `wharfinger ls`, with and without a server. */
import assert from "node:assert/strict";
import test from "node:test";
import type { ImagesAnswer } from "../../src/api/images.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { ask, command, pull } from "./holdings-stage.ts";

const SHARED = Buffer.alloc(50_000, "shared");

async function scene(dir?: string) {
  const hub = await TestUpstream.start();
  const ghcr = await TestUpstream.start();
  const app = makeImage({ seed: 1, layers: [SHARED, 1000] });
  const tool = makeImage({ seed: 2, layers: [SHARED, 2000] });
  const multi = makeIndex([makeImage({ seed: 3 }), makeImage({ seed: 4, architecture: "arm64" })]);
  const loose = makeImage({ seed: 5, layers: [700_000] });
  hub.shelves.add("library/app", app, "1");
  hub.shelves.add("library/app", app, "latest");
  hub.shelves.add("org/tool", tool, "2");
  ghcr.shelves.add("team/multi", multi, "main");
  ghcr.shelves.add("team/loose", loose);
  const mirror = await TestMirror.start({
    upstreams: { "docker.io": hub, "ghcr.io": ghcr },
    ...(dir === undefined ? {} : { dir }),
  });
  await pull(mirror, "library/app", app, "1");
  await pull(mirror, "library/app", app, "latest");
  await pull(mirror, "org/tool", tool, "2");
  await pull(mirror, "team/multi", multi, "main", "ghcr.io");
  await pull(mirror, "team/loose", loose, undefined, "ghcr.io");
  return {
    ...{ hub, ghcr, mirror, app, tool, multi, loose },
    async [Symbol.asyncDispose]() {
      await mirror[Symbol.asyncDispose]();
      await hub[Symbol.asyncDispose]();
      await ghcr[Symbol.asyncDispose]();
    },
  };
}

function names(answer: ImagesAnswer): string[] {
  return answer.images.map(({ repository, tags }) => `${repository}:${tags.join(",")}`);
}

test("images are listed with their tags, sizes shared and own, platforms and uses", async () => {
  await using on = await scene();
  const { mirror, app, multi, loose } = on;
  const list = await ask<ImagesAnswer>(mirror, "/api/v1/images");
  assert.deepEqual(names(list), ["library/app:1,latest", "org/tool:2", "team/loose:", "team/multi:main"]);
  const [first, , last, index] = list.images;
  assert.equal(first?.digest, app.digest);
  const bytes = (image: typeof app) =>
    [image.manifest.length, image.config.sizeBytes, ...image.layers.map(({ sizeBytes }) => sizeBytes)].reduce(
      (a, b) => a + b,
    );
  assert.equal(first?.sizeBytes, bytes(app));
  assert.equal(first?.sharedBytes, SHARED.length);
  assert.equal(first?.uniqueBytes, bytes(app) - SHARED.length);
  assert.deepEqual(first?.platforms, ["linux/amd64"]);
  assert.ok(Date.parse(first?.checkedAt ?? "") > 0);
  assert.equal(first?.pinned, false);
  assert.deepEqual(index?.platforms, ["linux/amd64", "linux/arm64"]);
  assert.equal(index?.digest, multi.digest);
  assert.equal(index?.uniqueBytes, index?.sizeBytes);
  assert.equal(last?.digest, loose.digest, "what was pulled by digest only is told without a tag");
  assert.equal(list.next, null);
  assert.equal(list.total.blobs, (await mirror.stored()).length);
});

test("a listing is narrowed by upstream, pattern and tag, and sorted", async () => {
  await using on = await scene();
  const { mirror } = on;
  const of = async (query: string) => names(await ask<ImagesAnswer>(mirror, `/api/v1/images?${query}`));
  assert.deepEqual(await of("upstream=ghcr.io"), ["team/loose:", "team/multi:main"]);
  assert.deepEqual(await of("repository=app"), ["library/app:1,latest"]);
  assert.deepEqual(await of("repository=team/*"), ["team/loose:", "team/multi:main"]);
  assert.deepEqual(await of("repository=**"), await of(""));
  assert.deepEqual(await of("tag=late*"), ["library/app:1,latest"]);
  assert.deepEqual(await of("upstream=docker.io&repository=none"), []);
  const sizes = await of("sort=size");
  assert.deepEqual(sizes[0], "team/loose:");
  assert.deepEqual(await of("sort=size&reverse=true"), sizes.toReversed());
  assert.deepEqual(await of("sort=name&reverse=true"), (await of("")).toReversed());
  for (const query of ["sort=odd", "limit=0", "limit=100000", "cursor=x", "cursor=bnVsbA", "odd=1", "reverse=maybe"]) {
    assert.equal((await get(`${mirror.adminUrl}/api/v1/images?${query}`)).status, 400, query);
  }
});

test("pages together are the whole, in every order", async () => {
  await using on = await scene();
  const { mirror } = on;
  for (const order of ["name", "size", "age", "used", "hits"].flatMap((sort) => [
    `sort=${sort}`,
    `sort=${sort}&reverse=true`,
  ])) {
    const whole = names(await ask<ImagesAnswer>(mirror, `/api/v1/images?${order}`));
    const paged: string[] = [];
    let cursor = "";
    do {
      const page = await ask<ImagesAnswer>(mirror, `/api/v1/images?${order}&limit=1${cursor}`);
      paged.push(...names(page));
      cursor = page.next === null ? "" : `&cursor=${page.next}`;
    } while (cursor !== "");
    assert.deepEqual(paged, whole, order);
  }
});

test("`wharfinger ls` shows the same with a server and without one", async () => {
  await using dir = await makeTempDir("ls");
  const baseline = openResources();
  const before = await (async () => {
    await using on = await scene(dir.path);
    void on;
    return await command(dir.path, ["ls"]);
  })();
  const after = await command(dir.path, ["ls"]);
  const stable = (text: string) =>
    text
      .replace(/\d+ m?s\b/g, "T")
      .replace(/ +/g, " ")
      .replace(/T \d+\n/g, "T n\n");
  assert.equal(before.code, 0, before.stderr);
  assert.equal(stable(after.stdout), stable(before.stdout));
  assert.match(after.stdout, /^IMAGE +TAGS +PLATFORMS +SIZE +OWN +STORED +USED +HITS +PIN\n/);
  assert.match(after.stdout, /^docker\.io\/library\/app +1,latest +linux\/amd64 +[\d.]+KiB/m);
  assert.match(after.stdout, /^ghcr\.io\/team\/loose +@sha256:[0-9a-f]{12} /m);
  assert.match(after.stdout, /\n4 images; stored in all: [\d.]+MiB in \d+ blobs\n$/);
  const narrow = await command(dir.path, ["ls", "ghcr.io/team/multi:main", "--digests", "--quiet"]);
  assert.match(narrow.stdout, /^ghcr\.io\/team\/multi +main +sha256:[0-9a-f]{12} .*\n$/);
  const json = await command(dir.path, ["ls", "--json", "app"]);
  const document = JSON.parse(json.stdout);
  assert.equal(document.format, "wharfinger-ls/1");
  assert.deepEqual(names(document), ["library/app:1,latest"]);
  const limited = await command(dir.path, ["ls", "--limit", "2"]);
  assert.match(limited.stdout, /\n2 images, and there are more \(--limit\);/);
  for (const sort of ["name", "size", "hits"]) {
    const few = await command(dir.path, ["ls", "--sort", sort, "--reverse", "--json"]);
    const many = await command(dir.path, ["ls", "--sort", sort, "--reverse", "--limit", "5000", "--json"]);
    assert.deepEqual(JSON.parse(many.stdout), JSON.parse(few.stdout), sort);
  }
  const none = await command(dir.path, ["ls", "nothing"]);
  assert.deepEqual([none.code, /^0 images; /.test(none.stdout)], [0, true]);
  assert.equal((await command(dir.path, ["ls", "--sort", "colour"])).code, 2);
  assert.equal((await command(`${dir.path}/missing`, ["ls"])).code, 3);
  assert.deepEqual(await residueSince(baseline), []);
});

test("on a terminal no line is longer than it", async () => {
  await using dir = await makeTempDir("ls");
  {
    await using on = await scene(dir.path);
    void on;
  }
  let text = "";
  const write = (more: string) => (text += more);
  await command(dir.path, ["ls", "--digests"], { stdout: { write, isTTY: true, columns: 80 } });
  const lines = text.split("\n").slice(0, 5);
  assert.ok(
    lines.every((line) => [...line].length <= 80),
    text,
  );
  assert.match(text, /…/);
});
