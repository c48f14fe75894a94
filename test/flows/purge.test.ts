/** Images that shall be gone: what leaves with them, what stays, and that the next pull fetches again. */
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

const SHARED = Buffer.alloc(30_000, "shared");

async function names(mirror: TestMirror): Promise<string[]> {
  const { images } = await ask<ImagesAnswer>(mirror, "/api/v1/images");
  return images.map(({ repository, tags }) => `${repository}:${tags.join(",")}`);
}

async function scene(dir: string) {
  const hub = await TestUpstream.start();
  const quay = await TestUpstream.start();
  const app = makeImage({ seed: 1, layers: [SHARED, 1000] });
  const tool = makeImage({ seed: 2, layers: [SHARED, 2000] });
  const multi = makeIndex([makeImage({ seed: 3 }), makeImage({ seed: 4, architecture: "arm64" })]);
  hub.shelves.add("library/app", app, "1");
  hub.shelves.add("library/app", app, "latest");
  hub.shelves.add("org/tool", tool, "2");
  quay.shelves.add("team/multi", multi, "main");
  const mirror = await TestMirror.start({ upstreams: { "docker.io": hub, "quay.io": quay }, dir });
  await pull(mirror, "library/app", app, "1");
  await pull(mirror, "library/app", app, "latest");
  await pull(mirror, "org/tool", tool, "2");
  await pull(mirror, "team/multi", multi, "main", "quay.io");
  await mirror.settled();
  return {
    ...{ hub, quay, mirror, app, tool, multi },
    async [Symbol.asyncDispose]() {
      await mirror[Symbol.asyncDispose]();
      await hub[Symbol.asyncDispose]();
      await quay[Symbol.asyncDispose]();
    },
  };
}

test("an image goes with what nobody else needs; the next pull fetches it again", async () => {
  await using dir = await makeTempDir("purge");
  const baseline = openResources();
  {
    await using on = await scene(dir.path);
    const { mirror, hub, tool, app } = on;
    const before = await mirror.stored();
    const said = await command(dir.path, ["purge", "org/tool:2"]);
    assert.equal(said.code, 0, said.stderr);
    assert.match(said.stdout, /^removed docker\.io\/org\/tool:2 \([\d.]+KiB\)\n1 image, 3 blobs, [\d.]+KiB freed\n$/);
    assert.equal((await mirror.stored()).length, before.length - 3, "the shared layer stays");
    assert.deepEqual(await names(mirror), ["library/app:1,latest", "team/multi:main"]);
    hub.forgetRequests();
    await pull(mirror, "library/app", app, "1");
    assert.equal(hub.count({ method: "GET" }), 0, "what shared its layer is whole");
    await pull(mirror, "org/tool", tool, "2");
    assert.ok(hub.count({ kind: "manifest", reference: "2" }) > 0, "the tag is asked for anew");
    assert.equal(hub.count({ method: "GET", kind: "manifest" }), 1);
    await mirror.settled();
    assert.deepEqual((await mirror.stored()).sort(), before.sort());
  }
  assert.deepEqual(await residueSince(baseline), []);
});

test("one of several tags goes alone, and the image with the last one", async () => {
  await using dir = await makeTempDir("purge");
  await using on = await scene(dir.path);
  const { mirror } = on;
  const before = (await mirror.stored()).length;
  const one = await command(dir.path, ["purge", "app:latest"]);
  assert.match(one.stdout, /1 image, 0 blobs, 0 bytes freed/);
  assert.equal((await mirror.stored()).length, before);
  assert.deepEqual((await names(mirror))[0], "library/app:1");
  const last = await command(dir.path, ["purge", "app:1"]);
  assert.match(last.stdout, /1 image, 3 blobs/);
  const again = await command(dir.path, ["purge", "app:1"]);
  assert.equal(again.code, 3);
  assert.match(again.stderr, /docker\.io\/library\/app:1 is not cached/);
});

test("a dry run says what would go, and nothing does", async () => {
  await using dir = await makeTempDir("purge");
  await using on = await scene(dir.path);
  const { mirror } = on;
  const before = await mirror.stored();
  const said = await command(dir.path, ["purge", "--upstream", "quay.io", "--dry-run"]);
  assert.match(
    said.stdout,
    /^would remove quay\.io\/team\/multi:main \(.*\)\n1 image, \d+ blobs, .* at least would be free\n$/,
  );
  assert.deepEqual(await mirror.stored(), before);
  assert.deepEqual((await names(mirror)).length, 3);
});

test("whoever purges more than one image is asked first, and nobody to ask is no yes", async () => {
  await using dir = await makeTempDir("purge");
  await using on = await scene(dir.path);
  const { mirror } = on;
  const questions: string[] = [];
  const answering = (answer: string | undefined) => ({
    ask: async (question: string) => {
      questions.push(question);
      return answer;
    },
  });
  for (const [left, code] of [
    ["interrupted", 130],
    ["ended", 1],
  ] as const) {
    const gone = await command(dir.path, ["purge", "--upstream", "docker.io"], { ask: async () => ({ left }) });
    assert.deepEqual([gone.code, gone.stdout, gone.stderr], [code, "", "wharfinger: nothing was removed\n"]);
  }
  const refused = await command(dir.path, ["purge", "--upstream", "docker.io"], answering("n"));
  assert.match(refused.stderr, /nothing was removed/);
  const nobody = await command(dir.path, ["purge", "--older-than", "0s"], answering(undefined));
  assert.equal(nobody.code, 2);
  assert.match(nobody.stderr, /this would remove 3 images: give --yes/);
  assert.equal((await command(dir.path, ["purge", "--older-than", "0s"])).code, 2);
  assert.equal((await names(mirror)).length, 3);
  assert.match(questions[0] ?? "", /^Remove 2 images and free at least .*\? \[y\/N\] $/);
  const single = await command(dir.path, ["purge", "--repository", "quay.io/team/*"]);
  assert.match(single.stdout, /1 image/, "one is not asked for");
  const agreed = await command(dir.path, ["purge", "--upstream", "docker.io"], answering("y"));
  assert.match(agreed.stdout, /2 images/);
  assert.deepEqual(await names(mirror), []);
  assert.deepEqual(await mirror.stored(), []);
});

test("what is pinned stays, unless that is said too", async () => {
  await using dir = await makeTempDir("purge");
  await using on = await scene(dir.path);
  const { mirror } = on;
  await command(dir.path, ["pin", "app:1"]);
  const refused = await command(dir.path, ["purge", "app:1"]);
  assert.equal(refused.code, 4);
  assert.match(refused.stderr, /docker\.io\/library\/app:1 is pinned/);
  const rest = await command(dir.path, ["purge", "--older-than", "0s", "--yes"]);
  assert.equal(rest.code, 0);
  assert.match(rest.stdout, /^kept docker\.io\/library\/app:1, docker\.io\/library\/app:latest: pinned$/m);
  assert.match(rest.stdout, /2 images, .*; 1 kept\n$/);
  assert.deepEqual(await names(mirror), ["library/app:1,latest"]);
  const forced = await command(dir.path, ["purge", `app@${on.app.digest}`, "--force"]);
  assert.equal(forced.code, 0, forced.stderr);
  assert.deepEqual(await mirror.stored(), []);
  assert.deepEqual(await ask(mirror, "/api/v1/pins"), { pins: [] });
});

test("content that another repository serves stays, and may no longer be read in the one it was purged of", async () => {
  await using dir = await makeTempDir("purge");
  await using hub = await TestUpstream.start();
  const image = makeImage({ seed: 8 });
  hub.shelves.add("library/one", image, "1");
  hub.shelves.add("library/two", image, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": hub }, dir: dir.path });
  await pull(mirror, "library/one", image, "1");
  await pull(mirror, "library/two", image, "1");
  const before = await mirror.stored();
  const said = await command(dir.path, ["purge", "one:1"]);
  assert.match(said.stdout, /1 image, 0 blobs/);
  assert.deepEqual(await mirror.stored(), before);
  hub.shelves.remove("library/one", "1");
  hub.shelves.remove("library/one", image.digest);
  const layer = image.layers[0]?.digest ?? "";
  hub.shelves.remove("library/one", layer);
  for (const path of ["manifests/1", `manifests/${image.digest}`, `blobs/${layer}`]) {
    assert.equal((await get(`${mirror.url}/v2/library/one/${path}`)).status, 404, path);
  }
  await pull(mirror, "library/two", image, "1");
});

test("a platform with a tag of its own outlives its index", async () => {
  await using dir = await makeTempDir("purge");
  await using hub = await TestUpstream.start();
  const amd = makeImage({ seed: 9 });
  const index = makeIndex([amd, makeImage({ seed: 10, architecture: "arm64" })]);
  hub.shelves.add("library/app", index, "1");
  hub.shelves.add("library/app", amd, "1-amd64");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": hub }, dir: dir.path });
  await pull(mirror, "library/app", index, "1");
  await pull(mirror, "library/app", amd, "1-amd64");
  await command(dir.path, ["purge", "app:1"]);
  assert.deepEqual(await names(mirror), ["library/app:1-amd64"]);
  hub.forgetRequests();
  await pull(mirror, "library/app", amd, "1-amd64");
  assert.equal(hub.count({ method: "GET" }), 0);
});

test("running pulls are untouched, and without a server the store itself is purged", async () => {
  await using dir = await makeTempDir("purge");
  {
    await using on = await scene(dir.path);
    const { hub, mirror } = on;
    const large = makeImage({ seed: 11, layers: [400_000] });
    hub.shelves.add("library/large", large, "1");
    const gate = hub.gate({ kind: "blob" }, 200_000);
    const pulled = pull(mirror, "library/large", large, "1");
    await gate.reached;
    const said = await command(dir.path, ["purge", "--upstream", "docker.io", "--yes"]);
    assert.equal(said.code, 0, said.stderr);
    gate.release();
    await pulled;
  }
  const left = await command(dir.path, ["purge", "--older-than", "0s", "--yes", "--json"]);
  assert.equal(left.code, 0, left.stderr);
  assert.equal(JSON.parse(left.stdout).images, 1);
  const status = await command(dir.path, ["ls", "--json"]);
  assert.deepEqual(JSON.parse(status.stdout).total, { blobs: 0, sizeBytes: 0 });
});

test("an upstream that nobody knows is not found, so that a slip of the pen is seen", async () => {
  await using dir = await makeTempDir("purge");
  await using on = await scene(dir.path);
  assert.equal((await names(on.mirror)).length, 3);
  for (const args of [
    ["purge", "--upstream", "quai.io", "--yes"],
    ["ls", "--upstream", "quai.io"],
    ["ls", "quai.io/**"],
  ]) {
    const said = await command(dir.path, args);
    assert.deepEqual([said.code, said.stdout], [3, ""], args.join(" "));
    assert.match(said.stderr, /no upstream "quai\.io" is configured, and nothing of it is stored/);
  }
  const { stderr, code } = await command(dir.path, ["ls", "--upstream", "quay.io"]);
  assert.deepEqual([code, stderr], [0, ""]);
});

test("a request that does not say which, or says it twice, is refused", async () => {
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": "http://192.0.2.1:1" } });
  const post = async (body: string) => {
    const headers = { "content-type": "application/json" };
    return (await get(`${mirror.adminUrl}/api/v1/purge`, { method: "POST", headers, body })).status;
  };
  for (const body of [
    "{}",
    '{"force":true}',
    '{"reference":"app","upstream":"x"}',
    '{"olderThanMs":-1}',
    '{"odd":1}',
  ]) {
    assert.equal(await post(body), 400, body);
  }
  assert.equal(await post('{"reference":"app:1"}'), 404);
  for (const args of [["purge"], ["purge", "app", "--upstream", "x.io"], ["purge", "--older-than", "soon"]]) {
    assert.equal((await command(mirror.dir, args)).code, 2, args.join(" "));
  }
});

test("where nothing matches, that is told and exit code 3; where nothing is old enough, all is well", async () => {
  await using dir = await makeTempDir("purge");
  await using on = await scene(dir.path);
  const before = (await on.mirror.stored()).length;
  const none = await command(dir.path, ["purge", "--repository", "nomatch", "--yes"]);
  assert.deepEqual([none.code, none.stderr.trim().split("\n").length], [3, 1]);
  assert.match(none.stderr, /nothing that is stored matches/);
  const young = await command(dir.path, ["purge", "--older-than", "90d", "--yes"]);
  assert.deepEqual([young.code, young.stderr], [0, ""]);
  assert.equal((await on.mirror.stored()).length, before);
});

test("a dry run by HTTP says what it would remove, and not that it has", async () => {
  await using dir = await makeTempDir("purge");
  await using on = await scene(dir.path);
  const answer = await get(`${on.mirror.adminUrl}/api/v1/purge`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ reference: "org/tool:2", dryRun: true }),
  });
  const kinds = answer.body.toString().trim().split("\n");
  assert.deepEqual(
    kinds.map((line) => JSON.parse(line).event),
    ["wouldRemove", "done"],
  );
});
