/**
 * Credentials that are not in the configuration: files, Docker's config.json, programs and clouds, through a whole mirror.
 */
import assert from "node:assert/strict";
import { chmodSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { get } from "../kit/http.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { playCloud, sendJson, setEnv, tempDir } from "../upstream/credentials/scene.ts";

const NAME = "registry.example.com";
const ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const image = makeImage({ seed: 82 });

async function registryOf(username: string, password: string): Promise<TestUpstream> {
  const upstream = await TestUpstream.start({ auth: { mode: "basic", username, password } });
  upstream.shelves.add("team/app", image, "1");
  return upstream;
}

/** A directory of programs that goes before all others. */
async function programs(t: TestContext) {
  const dir = await tempDir(t);
  setEnv(t, { PATH: `${dir}:${process.env["PATH"]}`, NOTES: join(dir, "notes") });
  return {
    dir,
    add: (name: string, script: string) => {
      writeFileSync(join(dir, `docker-credential-${name}`), `#!/bin/sh\n${script}\n`);
      chmodSync(join(dir, `docker-credential-${name}`), 0o755);
    },
  };
}

async function pull(mirror: TestMirror): Promise<number[]> {
  const paths = ["manifests/1", ...image.layers.map(({ digest }) => `blobs/${digest}`)];
  const statuses: number[] = [];
  for (const path of paths) statuses.push((await get(`${mirror.url}/v2/team/app/${path}`)).status);
  return statuses;
}

const ALL_GOOD = [200, ...image.layers.map(() => 200)];

test("an image is pulled with what a file, a config.json or a program holds", async (t) => {
  const { dir, add } = await programs(t);
  add("flow", `echo '{"Username":"robot","Secret":"right"}'`);
  writeFileSync(join(dir, "password"), "right\n");
  const auth = Buffer.from("robot:right").toString("base64");
  writeFileSync(join(dir, "auths.json"), JSON.stringify({ auths: { [`https://${NAME}/v1/`]: { auth } } }));
  writeFileSync(join(dir, "store.json"), JSON.stringify({ credsStore: "flow", auths: { [NAME]: {} } }));
  for (const credential of [
    { username: "robot", passwordFile: join(dir, "password") },
    { dockerConfig: join(dir, "auths.json") },
    { dockerConfig: join(dir, "store.json") },
    { helper: "flow" },
  ]) {
    await using upstream = await registryOf("robot", "right");
    await using mirror = await TestMirror.start({
      upstreams: { [NAME]: upstream },
      upstream: { credentials: [credential] },
    });
    assert.deepEqual(await pull(mirror), ALL_GOOD, JSON.stringify(credential));
  }
});

test("a password file that is replaced just after its refusal serves the next pull; an unchanged one costs no request", async (t) => {
  const file = join(await tempDir(t), "password");
  writeFileSync(file, "wrong\n");
  await using upstream = await registryOf("robot", "right");
  await using mirror = await TestMirror.start({
    upstreams: { [NAME]: upstream },
    upstream: { credentials: [{ username: "robot", passwordFile: file }] },
  });
  const refused = await get(`${mirror.url}/v2/team/app/manifests/1`);
  assert.equal(refused.status, 502);
  const { length } = upstream.requests;
  for (let at = 0; at < 3; at += 1) assert.equal((await get(`${mirror.url}/v2/team/app/manifests/1`)).status, 502);
  assert.equal(upstream.requests.length, length);
  writeFileSync(file, "right\n");
  assert.deepEqual(await pull(mirror), ALL_GOOD);
});

test("an image is pulled from ECR with what its API gives, asked once", async (t) => {
  const cloud = await playCloud(t, (_request, response) => {
    const authorizationToken = Buffer.from("AWS:twelve-hours").toString("base64");
    const expiresAt = Date.now() / 1000 + 12 * 3600;
    sendJson(response, { authorizationData: [{ authorizationToken, expiresAt }] });
  });
  setEnv(t, {
    AWS_ENDPOINT_URL_ECR: cloud.origin,
    AWS_ACCESS_KEY_ID: "AKIAEXAMPLE",
    AWS_SECRET_ACCESS_KEY: "x",
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
  });
  await using upstream = await registryOf("AWS", "twelve-hours");
  await using mirror = await TestMirror.start({
    upstreams: { [ECR]: upstream },
    upstream: { credentials: [{ ecr: {} }] },
    // Fronts ask for themselves what they pass.
    config: { workers: 1 },
  });
  assert.deepEqual(await pull(mirror), ALL_GOOD);
  assert.equal(cloud.seen.length, 1);
});

test("a program that fails is 502 with one line for the client, which has nothing of its output, and is not run again at once", async (t) => {
  const { dir, add } = await programs(t);
  add("flow", `echo ran >> "$NOTES"; echo s3cr3t-output; exit 1`);
  await using upstream = await registryOf("robot", "right");
  await using mirror = await TestMirror.start({
    upstreams: { [NAME]: upstream },
    upstream: { credentials: [{ helper: "flow" }] },
    config: { workers: 1 },
  });
  for (let time = 0; time < 3; time += 1) {
    const answer = await get(`${mirror.url}/v2/team/app/manifests/1`);
    assert.equal(answer.status, 502);
    const body = answer.body.toString("utf8");
    assert.match(body, /docker-credential-flow exited with status 1/);
    assert.doesNotMatch(body, /s3cr3t/);
  }
  assert.equal(readFileSync(join(dir, "notes"), "utf8"), "ran\n");
});

test("a mirror that is stopped while a program hangs leaves none behind", async (t) => {
  const { dir, add } = await programs(t);
  add("flow", `echo $$ >> "$NOTES"; exec sleep 1000`);
  await using upstream = await registryOf("robot", "right");
  const mirror = await TestMirror.start({
    upstreams: { [NAME]: upstream },
    upstream: { credentials: [{ helper: "flow" }] },
    config: { drainTimeout: "50ms" },
  });
  const waiting = get(`${mirror.url}/v2/team/app/manifests/1`).catch(() => undefined);
  const notes = join(dir, "notes");
  await mirror.until(() => existsSync(notes) && readFileSync(notes, "utf8").endsWith("\n"), "the program was not run");
  await mirror[Symbol.asyncDispose]();
  await waiting;
  const pid = Number(readFileSync(notes, "utf8"));
  assert.ok(pid > 1);
  assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
});
