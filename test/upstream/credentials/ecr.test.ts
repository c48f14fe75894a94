/** Amazon ECR by its real packages, against the APIs as emulated on loopback; failures by played packages as well. */
import assert from "node:assert/strict";
import { createServer, type ServerResponse } from "node:http";
import { type TestContext, test } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import type { CredentialForm } from "../../../src/config/credential.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { createScene, type PlayedCloud, playCloud, type Scene, type Seen, sendJson, setEnv } from "./scene.ts";

const HOUR = 60 * 60_000;
const HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const KEY = "AKIAEXAMPLEEXAMPLE01";
const SECRET_KEY = "s3cr3tKey/of+AWS";

type EcrForm = Extract<CredentialForm, { type: "ecr" }>;
const form = (more: Partial<EcrForm> = {}): EcrForm => ({
  type: "ecr",
  region: undefined,
  roleArn: undefined,
  ...more,
});

const token = (password: string) => Buffer.from(`AWS:${password}`).toString("base64");

interface EcrScene extends Scene {
  readonly cloud: PlayedCloud;
}

/** @param reply in the place of a good answer, by the number of the request, from 1 */
async function ecrScene(
  t: TestContext,
  reply: (count: number, response: ServerResponse, request: Seen) => boolean = () => false,
): Promise<EcrScene> {
  let count = 0;
  const cloud = await playCloud(t, (request, response) => {
    count += 1;
    if (reply(count, response, request)) return;
    const expiresAt = (scene.clock.now() + 12 * HOUR) / 1000;
    const data = { authorizationToken: token(`pw${count}`), expiresAt, proxyEndpoint: `https://${HOST}` };
    const isPublic = String(request.headers["x-amz-target"]).startsWith("Spencer");
    sendJson(response, { authorizationData: isPublic ? data : [data] });
  });
  setEnv(t, {
    AWS_ENDPOINT_URL_ECR: cloud.origin,
    AWS_ENDPOINT_URL_ECR_PUBLIC: cloud.origin,
    AWS_ENDPOINT_URL_STS: cloud.origin,
    AWS_ACCESS_KEY_ID: KEY,
    AWS_SECRET_ACCESS_KEY: SECRET_KEY,
    AWS_SESSION_TOKEN: undefined,
    AWS_PROFILE: undefined,
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
  });
  const scene = createScene(t, { name: HOST, endpoint: new URL(`https://${HOST}`) });
  return { ...scene, cloud };
}

test("account and region come of the registry's host; one password for all who wait, and no connection stays", async (t) => {
  const { open, asking, cloud } = await ecrScene(t);
  const baseline = openResources();
  const source = await open(form());
  assert.equal(source.account, "ecr:123456789012/eu-west-1");
  assert.equal(cloud.seen.length, 0);
  const all = await Promise.all(Array.from({ length: 20 }, () => source.hold(asking())));
  for (const held of all) assert.deepEqual(held, { kind: "basic", username: "AWS", password: "pw1" });
  assert.equal(cloud.seen.length, 1);
  const [request] = cloud.seen;
  assert.equal(request?.headers["x-amz-target"], "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
  assert.match(
    request?.headers.authorization ?? "",
    /Credential=AKIAEXAMPLEEXAMPLE01\/\d{8}\/eu-west-1\/ecr\/aws4_request/,
  );
  assert.deepEqual(await residueSince(baseline), []);
  assert.equal(await cloud.connections(), 0);
});

test("a region that is configured is asked, whatever the host", async (t) => {
  const { cloud, surroundings, asking } = await ecrScene(t);
  const { open } = createScene(t, { ...surroundings, name: "images.lan", endpoint: new URL("https://images.lan") });
  const source = await open(form({ region: "ap-south-1" }));
  assert.equal(source.account, "ecr:ap-south-1");
  await source.hold(asking());
  assert.match(cloud.seen[0]?.headers.authorization ?? "", /\/ap-south-1\/ecr\//);
  await assert.rejects(open(form()), { kind: "invalid", message: /needs a region/ });
});

test("several accounts and regions are apart", async (t) => {
  const { cloud, surroundings, asking } = await ecrScene(t);
  for (const host of [
    "111111111111.dkr.ecr.us-east-1.amazonaws.com",
    "222222222222.dkr.ecr.eu-north-1.amazonaws.com",
  ]) {
    const scene = createScene(t, { ...surroundings, name: host, endpoint: new URL(`https://${host}`) });
    await (await scene.open(form())).hold(asking());
  }
  const regions = cloud.seen.map(({ headers }) => /\d{8}\/([a-z0-9-]+)\/ecr/.exec(headers.authorization ?? "")?.[1]);
  assert.deepEqual(regions, ["us-east-1", "eu-north-1"]);
});

test("a password of twelve hours is renewed behind at about half of them", async (t) => {
  const { open, asking, cloud, clock } = await ecrScene(t);
  const source = await open(form());
  const first = await source.hold(asking());
  await clock.advance(5 * HOUR);
  assert.equal(await source.hold(asking()), first);
  assert.equal(cloud.seen.length, 1);
  await clock.advance(2 * HOUR);
  assert.equal(await source.hold(asking()), first);
  let held = first;
  for (let turn = 0; turn < 250 && held === first; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    held = await source.hold(asking());
  }
  assert.deepEqual(held, { kind: "basic", username: "AWS", password: "pw2" });
  assert.equal(cloud.seen.length, 2);
});

test("a refused password is asked for anew", async (t) => {
  const { open, asking } = await ecrScene(t);
  const source = await open(form());
  const first = await source.hold(asking());
  assert.ok(first);
  source.refused(first);
  assert.deepEqual(await source.hold(asking()), { kind: "basic", username: "AWS", password: "pw2" });
});

test("a role is assumed first, and what it gives signs the question", async (t) => {
  const { open, asking, cloud } = await ecrScene(t, (_count, response, { body }) => {
    if (!body.includes("Action=AssumeRole")) return false;
    const fields = `<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role+secret</SecretAccessKey><SessionToken>sess</SessionToken>`;
    const expires = new Date(Date.now() + HOUR).toISOString();
    response.writeHead(200, { "content-type": "text/xml" });
    response.end(
      `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>${fields}<Expiration>${expires}</Expiration></Credentials><AssumedRoleUser><AssumedRoleId>x:y</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/pull/wharfinger</Arn></AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>`,
    );
    return true;
  });
  const baseline = openResources();
  const source = await open(form({ roleArn: "arn:aws:iam::123456789012:role/pull" }));
  assert.deepEqual(await source.hold(asking()), { kind: "basic", username: "AWS", password: "pw2" });
  assert.match(cloud.seen[0]?.body ?? "", /RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fpull/);
  assert.match(cloud.seen[1]?.headers.authorization ?? "", /Credential=ASIAROLE\//);
  assert.equal(cloud.seen[1]?.headers["x-amz-security-token"], "sess");
  assert.deepEqual(await residueSince(baseline), []);
});

test("ECR Public is asked in us-east-1, whatever else is configured", async (t) => {
  const { cloud, surroundings, asking } = await ecrScene(t);
  setEnv(t, { AWS_REGION: "eu-west-1" });
  const endpoint = new URL("https://public.ecr.aws");
  const source = await createScene(t, { ...surroundings, name: "public.ecr.aws", endpoint }).open({
    type: "ecrPublic",
  });
  assert.equal(source.account, "ecr-public");
  assert.deepEqual(await source.hold(asking()), { kind: "basic", username: "AWS", password: "pw1" });
  assert.equal(cloud.seen[0]?.headers["x-amz-target"], "SpencerFrontendService.GetAuthorizationToken");
  assert.match(cloud.seen[0]?.headers.authorization ?? "", /\/us-east-1\/ecr-public\//);
});

test("what the API says badly, or not at all, is one line without a secret", async (t) => {
  const cases: readonly (readonly [
    name: string,
    reply: (response: ServerResponse) => void,
    kind: string,
    text: RegExp,
  ])[] = [
    [
      "500",
      (response) => sendJson(response, { message: SECRET_KEY }, 500),
      "unreachable",
      /cannot be asked for credentials \(.*status 500\)$/,
    ],
    [
      "denied",
      (response) => sendJson(response, { __type: "AccessDeniedException", message: SECRET_KEY }, 400),
      "refused",
      /the ECR API gives no credentials \(AccessDeniedException, status 400\)$/,
    ],
    [
      "throttled",
      (response) => sendJson(response, { __type: "ThrottlingException", message: SECRET_KEY }, 400),
      "unreachable",
      /\(ThrottlingException, status 400\)$/,
    ],
    [
      "a name that is none",
      (response) => sendJson(response, { __type: SECRET_KEY, message: SECRET_KEY }, 400),
      "refused",
      /gives no credentials/,
    ],
    ["HTML", (response) => response.end(`<html>${SECRET_KEY}</html>`), "unreachable", /.*/],
    ["nothing", (response) => sendJson(response, {}), "unreachable", /AWS answered something that is no ECR password$/],
    [
      "no password",
      (response) => sendJson(response, { authorizationData: [{ authorizationToken: "QVdTOg==", expiresAt: 1e10 }] }),
      "unreachable",
      /no ECR password$/,
    ],
    [
      "expired",
      (response) =>
        sendJson(response, { authorizationData: [{ authorizationToken: token(SECRET_KEY), expiresAt: 1 }] }),
      "unreachable",
      /had already expired$/,
    ],
    ["cut off", (response) => response.socket?.destroy(), "unreachable", /cannot be asked for credentials/],
  ];
  for (const [name, reply, kind, text] of cases) {
    await t.test(name, async (inner) => {
      const { open, asking } = await ecrScene(inner, (_count, response) => {
        reply(response);
        return true;
      });
      const baseline = openResources();
      const source = await open(form());
      await assert.rejects(source.hold(asking()), (error: unknown) => {
        assert.ok(error instanceof Failure);
        assert.equal(error.kind, kind, error.message);
        assert.match(error.message, text);
        assert.ok(error.message.startsWith(`${HOST}: `), error.message);
        assert.ok(!`${error.message}${error.stack}${String(error.cause)}`.includes(SECRET_KEY));
        assert.doesNotMatch(error.message, /\n/);
        return true;
      });
      assert.deepEqual(await residueSince(baseline), []);
    });
  }
});

test("an API that never answers is given up after a time, and no connection to it is left", async (t) => {
  const { open, asking, clock, cloud } = await ecrScene(t, () => true);
  const baseline = openResources();
  const source = await open(form());
  const waiting = assert.rejects(source.hold(asking()), {
    kind: "unreachable",
    timedOut: true,
    message: /within 20 s$/,
  });
  while (cloud.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  await clock.advance(20_000);
  await waiting;
  assert.deepEqual(await residueSince(baseline), []);
  assert.equal(clock.pending, 0);
});

test("no AWS account at all is said as such", async (t) => {
  const { open, asking } = await ecrScene(t);
  setEnv(t, { AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined });
  await assert.rejects((await open(form())).hold(asking()), {
    kind: "refused",
    message:
      /the ECR API gives no credentials \(CredentialsProviderError\); no AWS credentials were found in .*AWS_PROFILE/,
  });
});

test("the API is reached by the proxy of the environment, and without it where that says so", async (t) => {
  const { surroundings, asking } = await ecrScene(t);
  setEnv(t, { AWS_ENDPOINT_URL_ECR: "https://api.ecr.example.invalid" });
  const wanted: string[] = [];
  const proxy = createServer().on("connect", (request, socket) => {
    wanted.push(request.url ?? "");
    socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise((resolve) => proxy.close(resolve)));
  const address = proxy.address();
  const port = typeof address === "object" ? address?.port : undefined;
  const baseline = openResources();
  const env = { HTTPS_PROXY: `http://127.0.0.1:${port}` };
  await assert.rejects((await createScene(t, { ...surroundings, env }).open(form())).hold(asking()), {
    kind: "unreachable",
  });
  assert.deepEqual(new Set(wanted), new Set(["api.ecr.example.invalid:443"]));
  const told = wanted.length;
  const direct = createScene(t, { ...surroundings, env: { ...env, NO_PROXY: ".example.invalid" } });
  await assert.rejects((await direct.open(form())).hold(asking()), { kind: "unreachable" });
  assert.equal(wanted.length, told);
  assert.deepEqual(await residueSince(baseline), []);
});
