/** Google by its real package: the metadata server, keys of a file, rotation, and clouds that answer badly or not at all. */
import assert from "node:assert/strict";
import { generateKeyPairSync, verify } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { type LoadSdk, loadSdk } from "../../../src/upstream/credentials/sdk.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { createScene, playCloud, type Seen, sendJson, setEnv, tempDir } from "./scene.ts";

const NAME = "europe-docker.pkg.dev";
const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const PEM = privateKey.export({ type: "pkcs8", format: "pem" }).toString();

type Reply = (response: ServerResponse, request: Seen) => void;

/** The package with its requests to Google led to `origin`; all else in it is as it is. */
function ledTo(origin: string): LoadSdk {
  const lead: typeof fetch = (input, init) => {
    const url = new URL(input instanceof Request ? input.url : input);
    return fetch(`${origin}${url.pathname}${url.search}`, {
      ...init,
      headers: { ...headersOf(init), "x-asked": url.host },
    });
  };
  const headersOf = (init: RequestInit | undefined) => Object.fromEntries(new Headers(init?.headers));
  const load = async (name: string): Promise<unknown> => {
    assert.equal(name, "google-auth-library");
    const sdk = await loadSdk("google-auth-library");
    class Led extends sdk.GoogleAuth {
      constructor(options: ConstructorParameters<typeof sdk.GoogleAuth>[0]) {
        const { clientOptions } = options ?? {};
        const given = clientOptions !== undefined && "transporterOptions" in clientOptions ? clientOptions : {};
        const transporterOptions = { ...given.transporterOptions, fetchImplementation: lead };
        super({ ...options, clientOptions: { ...given, transporterOptions } });
      }
    }
    return { ...sdk, GoogleAuth: Led };
  };
  return load as LoadSdk;
}

async function googleScene(t: TestContext, reply: Reply) {
  const dir = await tempDir(t);
  const cloud = await playCloud(t, (request, response) => {
    // Whoever fetches in this process keeps connections for a while.
    response.setHeader("connection", "close");
    reply(response, request);
  });
  setEnv(t, {
    HOME: dir,
    GCE_METADATA_HOST: cloud.host,
    GOOGLE_APPLICATION_CREDENTIALS: undefined,
    GOOGLE_CLOUD_PROJECT: undefined,
    METADATA_SERVER_DETECTION: undefined,
    HTTPS_PROXY: undefined,
    https_proxy: undefined,
    HTTP_PROXY: undefined,
    http_proxy: undefined,
  });
  const keyFile = join(dir, "key.json");
  const writeKey = (key: unknown) => writeFileSync(keyFile, typeof key === "string" ? key : JSON.stringify(key));
  const endpoint = new URL(`https://${NAME}`);
  return { ...createScene(t, { name: NAME, endpoint, load: ledTo(cloud.origin) }), cloud, keyFile, writeKey };
}

function serviceAccount(email = "puller@project.iam.gserviceaccount.com") {
  return {
    type: "service_account",
    project_id: "project",
    private_key_id: "1",
    private_key: PEM,
    client_email: email,
    client_id: "1",
    token_uri: "https://oauth2.googleapis.com/token",
  };
}

const metadata =
  (token: (response: ServerResponse) => void): Reply =>
  (response, { url }) => {
    response.setHeader("metadata-flavor", "Google");
    if (url.includes("/token")) token(response);
    else response.end("ok");
  };

// The package looks once in a process, so this is the first.
test("no warning of the package's own reaches standard error where there is no metadata server", async (t) => {
  const warnings: string[] = [];
  const note = ({ name }: Error) => warnings.push(name);
  process.on("warning", note);
  t.after(() => process.off("warning", note));
  const { open, asking } = await googleScene(t, (response) => response.socket?.destroy());
  await assert.rejects((await open({ type: "google", keyFile: undefined })).hold(asking()));
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(warnings, []);
});

test("without a key file the metadata server gives the token, once for all who wait", async (t) => {
  const { open, asking, cloud } = await googleScene(
    t,
    metadata((response) => sendJson(response, { access_token: "ya29.meta", expires_in: 3599, token_type: "Bearer" })),
  );
  const source = await open({ type: "google", keyFile: undefined });
  assert.equal(source.account, "google:default");
  assert.equal(cloud.seen.length, 0);
  const all = await Promise.all(Array.from({ length: 20 }, () => source.hold(asking())));
  for (const held of all) {
    assert.deepEqual(held, { kind: "basic", username: "oauth2accesstoken", password: "ya29.meta" });
  }
  const tokens = cloud.seen.filter(({ url }) => url.includes("/token"));
  assert.equal(tokens.length, 1);
  assert.equal(tokens[0]?.headers["metadata-flavor"], "Google");
});

test("a metadata server that comes up later than we do is found", async (t) => {
  let isUp = false;
  const up = metadata((response) => sendJson(response, { access_token: "ya29.late", expires_in: 3599 }));
  const { open, asking, clock } = await googleScene(t, (response, request) =>
    isUp ? up(response, request) : void response.writeHead(404).end(),
  );
  const source = await open({ type: "google", keyFile: undefined });
  await assert.rejects(
    source.hold(asking()),
    (error) => error instanceof Failure && error.message.startsWith(`${NAME}: Google `),
  );
  isUp = true;
  await clock.advance(10_000);
  assert.deepEqual(await source.hold(asking()), {
    kind: "basic",
    username: "oauth2accesstoken",
    password: "ya29.late",
  });
});

test("a key file's service account signs for a token, and a new file is another account's from then on", async (t) => {
  let count = 0;
  const { open, asking, cloud, keyFile, writeKey, clock } = await googleScene(t, (response) => {
    count += 1;
    sendJson(response, { access_token: `ya29.key${count}`, expires_in: 3599, token_type: "Bearer" });
  });
  const baseline = openResources();
  writeKey(serviceAccount());
  const source = await open({ type: "google", keyFile });
  assert.equal(source.account, "google:puller@project.iam.gserviceaccount.com");
  const held = await source.hold(asking());
  assert.deepEqual(held, { kind: "basic", username: "oauth2accesstoken", password: "ya29.key1" });
  assert.equal(await source.hold(asking()), held);
  assert.equal(cloud.seen.length, 1);
  const [request] = cloud.seen;
  assert.equal(request?.headers["x-asked"], "oauth2.googleapis.com");
  const assertion = new URLSearchParams(request?.body).get("assertion") ?? "";
  const [head = "", claims = "", signature = ""] = assertion.split(".");
  assert.ok(verify("sha256", Buffer.from(`${head}.${claims}`), publicKey, Buffer.from(signature, "base64url")));
  const said: unknown = JSON.parse(Buffer.from(claims, "base64url").toString());
  assert.ok(typeof said === "object" && said !== null && "iss" in said && "scope" in said);
  assert.deepEqual(
    [said.iss, said.scope],
    ["puller@project.iam.gserviceaccount.com", "https://www.googleapis.com/auth/cloud-platform"],
  );

  writeKey(serviceAccount("second@project.iam.gserviceaccount.com"));
  await clock.advance(5_000);
  const next = await source.hold(asking());
  assert.deepEqual(next, { kind: "basic", username: "oauth2accesstoken", password: "ya29.key2" });
  assert.ok(next);
  source.refused(next);
  assert.deepEqual(await source.hold(asking()), {
    kind: "basic",
    username: "oauth2accesstoken",
    password: "ya29.key3",
  });
  assert.deepEqual(await residueSince(baseline), []);
});

test("a key that changes while another's token is on its way is asked with next", async (t) => {
  const late: ServerResponse[] = [];
  let count = 0;
  const { open, asking, keyFile, writeKey, clock } = await googleScene(t, (response) => {
    count += 1;
    if (count === 1) late.push(response);
    else sendJson(response, { access_token: "ya29.second", expires_in: 3599 });
  });
  writeKey(serviceAccount());
  const source = await open({ type: "google", keyFile });
  const first = source.hold(asking());
  while (late.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  writeKey(serviceAccount("second@project.iam.gserviceaccount.com"));
  await clock.advance(5_000);
  const second = source.hold(asking());
  for (const response of late) sendJson(response, { access_token: "ya29.first", expires_in: 3599 });
  await Promise.all([first, second]);
  const held = await source.hold(asking());
  assert.deepEqual(held, { kind: "basic", username: "oauth2accesstoken", password: "ya29.second" });
});

test("a user's own login is a key file too, named after its kind", async (t) => {
  const { open, asking, cloud, keyFile, writeKey } = await googleScene(t, (response) =>
    sendJson(response, { access_token: "ya29.user", expires_in: 3599 }),
  );
  writeKey({ type: "authorized_user", client_id: "id", client_secret: "s3cr3t", refresh_token: "r" });
  const source = await open({ type: "google", keyFile });
  assert.equal(source.account, "google:authorized_user");
  assert.deepEqual(await source.hold(asking()), {
    kind: "basic",
    username: "oauth2accesstoken",
    password: "ya29.user",
  });
  assert.match(cloud.seen[0]?.body ?? "", /grant_type=refresh_token/);
});

test("a key file that holds no key fails the start, and its contents are not told", async (t) => {
  const { open, keyFile, writeKey } = await googleScene(t, (response) => void response.end());
  for (const key of ["s3cr3t", "[]", "{}", '{"type":7,"private_key":"s3cr3t"}', ""]) {
    writeKey(key);
    await assert.rejects(open({ type: "google", keyFile }), (error: unknown) => {
      assert.ok(error instanceof Failure && error.kind === "invalid");
      assert.match(
        error.message,
        /^the file .*key\.json (is not JSON|holds no key of Google's: an object with a type)$/,
      );
      return true;
    });
  }
});

test("an account's name is never made of something that is no address", async (t) => {
  const { open, keyFile, writeKey } = await googleScene(t, (response) => void response.end());
  for (const [email, type, account] of [
    [PEM, "service_account", "google:service_account"],
    [{ a: 1 }, "service_account", "google:service_account"],
    ["a@b\nc", "s3cr3t VALUE", "google:key"],
  ] as const) {
    writeKey({ ...serviceAccount(), client_email: email, type });
    assert.equal((await open({ type: "google", keyFile })).account, account);
  }
});

test("what Google says badly, or not at all, is one line without a secret", async (t) => {
  const secret = "ya29.s3cr3tToken0";
  const cases: readonly (readonly [name: string, reply: Reply, kind: string, text: RegExp])[] = [
    [
      "500",
      (response) => sendJson(response, { error: secret }, 500),
      "unreachable",
      /Google cannot be asked for credentials \(.*status 500\)$/,
    ],
    [
      "invalid_grant",
      (response) => sendJson(response, { error: "invalid_grant", error_description: secret }, 400),
      "refused",
      /Google gives no credentials \(.*invalid_grant, status 400\)$/,
    ],
    [
      "HTML",
      (response) => response.writeHead(200, { "content-type": "text/html" }).end(`<html>${secret}`),
      "unreachable",
      /Google cannot be asked for credentials$/,
    ],
    [
      "no token",
      (response) => sendJson(response, { expires_in: 3599 }),
      "unreachable",
      /Google cannot be asked for credentials$/,
    ],
    [
      "no token of a header",
      (response) => sendJson(response, { access_token: `${secret}\n`, expires_in: 3599 }),
      "unreachable",
      /no access token$/,
    ],
    [
      "expired",
      (response) => sendJson(response, { access_token: secret, expires_in: -100 }),
      "unreachable",
      /had already expired$/,
    ],
    ["cut off", (response) => response.socket?.destroy(), "unreachable", /cannot be asked for credentials/],
  ];
  for (const [name, reply, kind, text] of cases) {
    await t.test(name, async (inner) => {
      const { open, asking, keyFile, writeKey, clock } = await googleScene(inner, reply);
      clock.jump(Date.now() - clock.now());
      writeKey(serviceAccount());
      const baseline = openResources();
      const source = await open({ type: "google", keyFile });
      await assert.rejects(source.hold(asking()), (error: unknown) => {
        assert.ok(error instanceof Failure, String(error));
        assert.equal(error.kind, kind, error.message);
        assert.match(error.message, text);
        const all = `${error.message}${error.stack}${String(error.cause)}`;
        assert.ok(!all.includes(secret) && !all.includes("PRIVATE KEY"), all);
        assert.doesNotMatch(error.message, /\n/);
        return true;
      });
      assert.deepEqual(await residueSince(baseline), []);
    });
  }
});

test("a Google that never answers is given up after a time, and its request with it", async (t) => {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const { open, asking, keyFile, writeKey, clock, cloud } = await googleScene(
    t,
    (response) => void response.on("close", end),
  );
  writeKey(serviceAccount());
  const source = await open({ type: "google", keyFile });
  const waiting = assert.rejects(source.hold(asking()), {
    kind: "unreachable",
    timedOut: true,
    message: /within 20 s$/,
  });
  while (cloud.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  await clock.advance(20_000);
  await waiting;
  await ended;
  assert.equal(cloud.seen.length, 1);
  assert.equal(clock.pending, 0);
});
