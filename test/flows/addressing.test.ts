/**
 * How a request names its upstream: all five forms, and what clients make of them.
 */
import assert from "node:assert/strict";
import test from "node:test";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { makeTempDir } from "../kit/temp.ts";
import { TestUpstream } from "../kit/upstream.ts";

const hub = makeImage({ seed: 51 });
const ghcr = makeImage({ seed: 52 });

async function staged(
  run: (mirror: TestMirror, first: TestUpstream, second: TestUpstream) => Promise<void>,
  dir?: string,
) {
  await using first = await TestUpstream.start();
  await using second = await TestUpstream.start({ pageSize: 2 });
  first.shelves.add("library/demo", hub, "1");
  second.shelves.add("owner/demo", ghcr, "1");
  await using mirror = await TestMirror.start({
    upstreams: { "docker.io": first, "ghcr.io": second },
    each: { "ghcr.io": { hosts: ["ghcr.mirror.example"] } },
    ...(dir === undefined ? {} : { dir }),
  });
  await run(mirror, first, second);
}

const forms: readonly [string, string, Record<string, string>, typeof hub][] = [
  ["?ns=", "/v2/owner/demo/manifests/1?ns=ghcr.io", {}, ghcr],
  ["Host", "/v2/owner/demo/manifests/1", { Host: "ghcr.mirror.example" }, ghcr],
  ["a path before v2", "/ghcr.io/v2/owner/demo/manifests/1", {}, ghcr],
  ["the first component", "/v2/ghcr.io/owner/demo/manifests/1", {}, ghcr],
  ["the default", "/v2/library/demo/manifests/1", {}, hub],
  ["the default, with library/ added", "/v2/demo/manifests/1", {}, hub],
  ["an alias of Docker Hub", "/v2/index.docker.io/demo/manifests/1", {}, hub],
  ["another alias of Docker Hub", "/v2/library/demo/manifests/1?ns=registry-1.docker.io", {}, hub],
  ["ns and path at once, as BuildKit sends them", "/v2/ghcr.io/owner/demo/manifests/1?ns=ghcr.io", {}, ghcr],
  ["ns and prefix at once, as containerd sends them", "/ghcr.io/v2/owner/demo/manifests/1?ns=ghcr.io", {}, ghcr],
  ["ns before Host", "/v2/library/demo/manifests/1?ns=docker.io", { Host: "ghcr.mirror.example" }, hub],
];

for (const [what, path, headers, image] of forms) {
  test(`a request names its upstream by ${what}`, async () => {
    await staged(async (mirror) => {
      const answer = await get(mirror.url, { rawPath: path, headers });
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.body, image.manifest);
      const ns = new URL(path, mirror.url).searchParams.get("ns");
      assert.equal(answer.headers["oci-namespace"], ns ?? undefined);
    });
  });
}

test("the ping answers 200 in every form", async () => {
  await staged(async (mirror) => {
    for (const path of ["/v2", "/v2/", "/ghcr.io/v2/", "/docker.io/v2", "/v2/?ns=ghcr.io"]) {
      assert.equal((await get(mirror.url, { rawPath: path })).status, 200, path);
    }
  });
});

test("tags are listed page by page, with links that lead back here by the client's own form", async () => {
  await staged(async (mirror, _first, second) => {
    for (const tag of ["1", "2", "3", "4", "5"]) second.shelves.add("owner/demo", ghcr, tag);
    for (const start of ["/v2/ghcr.io/owner/demo/tags/list", "/ghcr.io/v2/owner/demo/tags/list?ns=ghcr.io"]) {
      const tags: string[] = [];
      let path: string | undefined = start;
      let pages = 0;
      while (path !== undefined) {
        const answer = await get(mirror.url, { rawPath: path });
        assert.equal(answer.status, 200);
        const body = JSON.parse(answer.body.toString());
        assert.equal(body.name, "owner/demo");
        tags.push(...body.tags);
        path = /^<([^>]+)>; rel="next"$/.exec(String(answer.headers.link))?.[1];
        if (path !== undefined) assert.equal(path.split("?")[0], start.split("?")[0]);
        pages += 1;
      }
      assert.deepEqual(tags, ["1", "2", "3", "4", "5"]);
      assert.equal(pages, 3);
    }
    assert.equal(second.count({ kind: "tags" }), 3, "the second listing comes from memory");
  });
});

test("n=0 is an empty list without a link, and an unknown repository is 404", async () => {
  await staged(async (mirror, first) => {
    const none = await get(`${mirror.url}/v2/demo/tags/list?n=0`);
    assert.deepEqual(JSON.parse(none.body.toString()).tags, []);
    assert.equal(none.headers.link, undefined);
    assert.equal(first.requests.length, 0);
    const unknown = await get(`${mirror.url}/v2/nothing/tags/list`);
    assert.equal(unknown.status, 404);
    assert.equal(JSON.parse(unknown.body.toString()).errors[0].code, "NAME_UNKNOWN");
  });
});

test("with the upstream gone, tags that are cached are still listed, with a warning", async () => {
  const first = await TestUpstream.start();
  first.shelves.add("library/demo", hub, "1");
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": first } });
  await get(`${mirror.url}/v2/demo/manifests/1`);
  await first.close();
  const answer = await get(`${mirror.url}/v2/demo/tags/list`);
  assert.deepEqual(JSON.parse(answer.body.toString()).tags, ["1"]);
  assert.match(String(answer.headers.warning), /^299 - "/);
});

test("the catalogue names what is cached, as this mirror answers to it", async () => {
  await staged(async (mirror) => {
    await get(`${mirror.url}/v2/demo/manifests/1`);
    await get(`${mirror.url}/v2/ghcr.io/owner/demo/manifests/1`);
    const list = async (path: string) => JSON.parse((await get(mirror.url + path)).body.toString()).repositories;
    assert.deepEqual(await list("/v2/_catalog"), ["docker.io/library/demo", "ghcr.io/owner/demo"]);
    assert.deepEqual(await list("/v2/_catalog?ns=ghcr.io"), ["owner/demo"]);
    assert.deepEqual(await list("/ghcr.io/v2/_catalog"), ["owner/demo"]);
    const page = await get(`${mirror.url}/v2/_catalog?n=1`);
    assert.deepEqual(JSON.parse(page.body.toString()).repositories, ["docker.io/library/demo"]);
    const next = /^<([^>]+)>/.exec(String(page.headers.link))?.[1];
    assert.deepEqual(await list(next ?? ""), ["ghcr.io/owner/demo"]);
  });
});

test("the catalogue leaves out what no upstream of the configuration serves any more", async () => {
  await using dir = await makeTempDir("catalogue");
  await staged(async (mirror) => {
    await get(`${mirror.url}/v2/demo/manifests/1`);
    await get(`${mirror.url}/v2/ghcr.io/owner/demo/manifests/1`);
  }, dir.path);
  await using first = await TestUpstream.start();
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": first }, dir: dir.path });
  const catalog = await get(`${mirror.url}/v2/_catalog`);
  assert.deepEqual(JSON.parse(catalog.body.toString()).repositories, ["docker.io/library/demo"]);
});

test("referrers come from the upstream's API, filtered here, and are asked for once", async () => {
  await staged(async (mirror, first) => {
    const signature = makeImage({ seed: 53, subject: hub.descriptor, artifactType: "application/vnd.example.sig" });
    const sbom = makeImage({ seed: 54, subject: hub.descriptor, artifactType: "application/vnd.example.sbom" });
    first.shelves.add("library/demo", signature);
    first.shelves.add("library/demo", sbom);
    const url = `${mirror.url}/v2/demo/referrers/${hub.digest}`;
    const all = await get(url);
    assert.equal(all.headers["content-type"], "application/vnd.oci.image.index.v1+json");
    assert.equal(JSON.parse(all.body.toString()).manifests.length, 2);
    const some = await get(`${url}?artifactType=application/vnd.example.sig`);
    assert.equal(some.headers["oci-filters-applied"], "artifactType");
    const [only, ...others] = JSON.parse(some.body.toString()).manifests;
    assert.equal(only.digest, signature.digest);
    assert.equal(others.length, 0);
    assert.equal(first.count({ kind: "referrers" }), 1);
  });
});

test("without a referrers API the tag schema is used, and without that tag the answer is 404", async () => {
  await using upstream = await TestUpstream.start({ referrers: false });
  const { makeIndex } = await import("../kit/image.ts");
  const signature = makeImage({ seed: 55, subject: hub.descriptor });
  upstream.shelves.add("library/demo", hub, "1");
  upstream.shelves.add("library/demo", makeIndex([signature]), hub.digest.replace(":", "-"));
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": upstream } });
  const found = await get(`${mirror.url}/v2/demo/referrers/${hub.digest}`);
  assert.equal(found.status, 200);
  assert.equal(JSON.parse(found.body.toString()).manifests[0].digest, signature.digest);
  const none = await get(`${mirror.url}/v2/demo/referrers/${signature.digest}`);
  assert.equal(none.status, 404);
});
