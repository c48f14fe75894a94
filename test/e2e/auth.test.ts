/**
 * A real registry behind a password, and behind a token server: what a pull of two repositories costs it.
 */
import { strict as assert } from "node:assert";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { get } from "../kit/http.ts";
import { makeImage, makeIndex, type TestIndex } from "../kit/image.ts";
import { makeTempDir } from "../kit/temp.ts";
import { Mirror } from "./mirror.ts";
import { type LoggedRequest, Origin, type OriginOptions } from "./origin.ts";
import { needs } from "./programs.ts";
import { JwtServer } from "./token-server.ts";

const options = needs(["docker-registry"]);
const login = {
  username: "mirror",
  password: "correct horse",
  line: "mirror:$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
};
const NAME = "registry.example.com";
const index = (seed: number) => makeIndex([makeImage({ seed }), makeImage({ seed: seed + 1, architecture: "arm64" })]);
const images = [
  ["team/app", index(701)],
  ["team/worker", index(711)],
] as const;

interface Stage {
  readonly origin: Origin;
  readonly mirror: Mirror;
}

async function onStage(setup: OriginOptions, password: string, play: (stage: Stage) => Promise<void>): Promise<void> {
  await using dir = await makeTempDir("e2e-auth");
  await using undo = new AsyncDisposableStack();
  const origin = await Origin.start(dir.path, setup);
  undo.defer(() => origin.stop());
  const credentials = [{ username: login.username, password }];
  const upstreams = { [NAME]: { url: origin.url, credentials } };
  const mirror = await Mirror.start({ dir: dir.path, upstreams, config: { defaultUpstream: NAME } });
  undo.defer(() => mirror.stop());
  for (const [name, content] of images) await origin.push(name, content, "1");
  await origin.forget();
  await play({ origin, mirror });
  assert.ok(!mirror.output.includes(password), "the password is not in the log");
}

/** As containerd does: HEAD of the tag, everything else by digest. */
async function pull(mirror: Mirror, name: string, content: TestIndex): Promise<void> {
  const below = `${mirror.url}/v2/${name}`;
  const head = await get(`${below}/manifests/1`, { method: "HEAD" });
  assert.equal(head.headers["docker-content-digest"], content.digest);
  const image = content.images[0] ?? assert.fail();
  const paths = [content.digest, image.digest].map((digest) => [`manifests/${digest}`, digest] as const);
  const blobs = [image.config, ...image.layers].map(({ digest }) => [`blobs/${digest}`, digest] as const);
  for (const [path, digest] of [...paths, ...blobs])
    assert.equal(digestOf((await get(`${below}/${path}`)).body), digest);
}

const describe = ({ method, kind, status }: LoggedRequest) => `${status} ${method} ${kind}`;
const ONE_PULL = [...Array(4).fill("200 GET blob"), ...Array(2).fill("200 GET manifest"), "200 HEAD manifest"];

async function pullTwice({ origin, mirror }: Stage): Promise<void> {
  for (const [at, [name, content]] of images.entries()) {
    await pull(mirror, name, content);
    // What the registry wants is learned once, by its first answer.
    const expected = at === 0 ? [...ONE_PULL, "401 HEAD manifest"] : ONE_PULL;
    assert.deepEqual((await origin.requests()).map(describe).sort(), expected);
    await origin.forget();
  }
  for (const [name, content] of images) await pull(mirror, name, content);
  assert.deepEqual(await origin.requests(), []);
}

test("a registry behind htpasswd is asked once without a password, and for nothing twice", options, async () => {
  await onStage({ login }, login.password, pullTwice);
});

test("a registry behind a token server costs one token for each repository", options, async () => {
  await using tokens = await JwtServer.start(login);
  const setup = { tokens: { settings: tokens.settings, authorizationToPush: tokens.authorizationToPush } };
  await onStage(setup, login.password, async (stage) => {
    await pullTwice(stage);
    assert.deepEqual(tokens.asked, ["repository:team/app:pull", "repository:team/worker:pull"]);
    const { status } = await get(`${stage.mirror.url}/v2/team/app/manifests/no-such-tag`);
    assert.equal(status, 404);
    assert.equal(tokens.asked.length, 2);
  });
});

test("a token server that refuses the password is asked once, and the client is told 502", options, async () => {
  await using tokens = await JwtServer.start(login);
  const setup = { tokens: { settings: tokens.settings, authorizationToPush: tokens.authorizationToPush } };
  await onStage(setup, "wrong battery", async ({ mirror }) => {
    for (const _ of [1, 2, 3]) assert.equal((await get(`${mirror.url}/v2/team/app/manifests/1`)).status, 502);
    assert.equal(tokens.asked.length, 1);
  });
});
