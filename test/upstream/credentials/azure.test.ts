/** Azure by its real package: managed identity, service principal, the exchange at the registry, and what goes wrong there. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, type TestContext, test } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import type { CredentialForm } from "../../../src/config/credential.ts";
import type { Asking } from "../../../src/upstream/credentials/credential.ts";
import { type LoadSdk, loadSdk } from "../../../src/upstream/credentials/sdk.ts";
import { openResources, residueSince } from "../../kit/residue.ts";
import { createScene, playCloud, type Seen, sendJson, setEnv, tempDir } from "./scene.ts";

const NAME = "images.azurecr.io";
const HOUR = 60 * 60_000;
const SECRET = "s3cr3t~Value0";

type AzureForm = Extract<CredentialForm, { type: "azure" }>;
type Reply = Parameters<typeof playCloud>[1];

const form = (more: Partial<AzureForm> = {}): AzureForm => ({
  type: "azure",
  clientId: undefined,
  tenantId: undefined,
  secret: undefined,
  ...more,
});

function jwt(claims: Readonly<Record<string, unknown>>): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  return `${part({ alg: "none" })}.${part(claims)}.sig`;
}

const refreshToken = (count: number, lifeMs = 3 * HOUR) =>
  jwt({ iat: 1000, exp: 1000 + lifeMs / 1000, jti: String(count) });

/** The package with its requests to Entra led to `origin`; all else in it is as it is. */
function ledTo(origin: string): LoadSdk {
  const load = async (): Promise<unknown> => {
    const sdk = await loadSdk("@azure/identity");
    class Led extends sdk.ClientSecretCredential {
      constructor(...[tenant, client, secret, options]: ConstructorParameters<typeof sdk.ClientSecretCredential>) {
        super(tenant, client, secret, {
          ...options,
          disableInstanceDiscovery: true,
          additionalPolicies: [
            ...(options?.additionalPolicies ?? []),
            {
              position: "perCall",
              policy: {
                name: "lead",
                sendRequest: (request, next) => {
                  const url = new URL(request.url);
                  request.headers.set("x-asked", url.host);
                  request.url = `${origin}${url.pathname}${url.search}`;
                  request.allowInsecureConnection = true;
                  return next(request);
                },
              },
            },
          ],
        });
      }
    }
    return { ...sdk, ClientSecretCredential: Led };
  };
  return load as LoadSdk;
}

/** Without connections that are kept. */
const closing =
  (reply: Reply): Reply =>
  (request, response) => {
    response.setHeader("connection", "close");
    reply(request, response);
  };

const identity: Reply = (_request, response) =>
  sendJson(response, {
    access_token: `entra-${SECRET}`,
    expires_on: String(Math.floor(Date.now() / 1000) + 86_400),
    resource: "https://containerregistry.azure.net",
    token_type: "Bearer",
  });

/** The package looks for its managed identity once in a process: there is one for all tests. */
const local = await playCloud({ after }, closing(identity));
// What it opens of this process when it is loaded is no residue.
await loadSdk("@azure/identity");

interface Posted {
  readonly url: string;
  readonly form: Readonly<Record<string, string>>;
}

/** @param exchange what the registry answers to a post */
async function azureScene(
  t: TestContext,
  reply: Reply,
  exchange: (count: number) => Buffer | Failure = (count) =>
    Buffer.from(JSON.stringify({ refresh_token: refreshToken(count) })),
  name = NAME,
) {
  const cloud = reply === identity ? local : await playCloud(t, closing(reply));
  cloud.seen.length = 0;
  const dir = await tempDir(t);
  setEnv(t, {
    HOME: dir,
    IDENTITY_ENDPOINT: `${local.origin}/msi/token`,
    IDENTITY_HEADER: SECRET,
    AZURE_TENANT_ID: undefined,
    AZURE_CLIENT_ID: undefined,
    AZURE_CLIENT_SECRET: undefined,
    AZURE_FEDERATED_TOKEN_FILE: undefined,
    AZURE_TOKEN_CREDENTIALS: "prod",
    AZURE_POD_IDENTITY_AUTHORITY_HOST: undefined,
  });
  const posted: Posted[] = [];
  const post: Asking["post"] = async (url, given) => {
    posted.push({ url: url.href, form: Object.fromEntries(given) });
    const answer = exchange(posted.length);
    if (answer instanceof Failure) throw answer;
    return answer;
  };
  const endpoint = new URL(`https://${name}`);
  return { ...createScene(t, { name, endpoint, post, load: ledTo(cloud.origin) }), cloud, posted, dir };
}

const entra: Reply = ({ headers, url }, response) => {
  const base = `https://${String(headers["x-asked"])}/tenant`;
  if (!url.includes("openid-configuration")) {
    sendJson(response, { access_token: `entra-${SECRET}`, expires_in: 3599, token_type: "Bearer" });
    return;
  }
  sendJson(response, {
    issuer: `${base}/v2.0`,
    token_endpoint: `${base}/oauth2/v2.0/token`,
    authorization_endpoint: `${base}/oauth2/v2.0/authorize`,
    jwks_uri: `${base}/keys`,
  });
};

test("a managed identity's token is exchanged at the registry for a refresh token, once for all who wait", async (t) => {
  const { open, asking, cloud, posted } = await azureScene(t, identity);
  const baseline = openResources();
  const source = await open(form());
  assert.equal(source.account, "azure:default");
  assert.equal(cloud.seen.length, 0);
  const all = await Promise.all(Array.from({ length: 20 }, () => source.hold(asking())));
  for (const held of all) assert.deepEqual(held, { kind: "identity", token: refreshToken(1) });
  assert.match(
    cloud.seen[0]?.url ?? "",
    /resource=https:\/\/containerregistry\.azure\.net|resource=https%3A%2F%2Fcontainerregistry/,
  );
  assert.equal(cloud.seen[0]?.headers["x-identity-header"], SECRET);
  assert.deepEqual(posted, [
    {
      url: `https://${NAME}/oauth2/exchange`,
      form: { grant_type: "access_token", service: NAME, access_token: `entra-${SECRET}` },
    },
  ]);
  assert.deepEqual(await residueSince(baseline), []);
});

test("a refresh token is renewed within its own life, and after a refusal at once", async (t) => {
  const { open, asking, posted, clock } = await azureScene(t, identity);
  const source = await open(form({ clientId: "renewed" }));
  assert.equal(source.account, "azure:renewed");
  const first = await source.hold(asking());
  assert.ok(first);
  await clock.advance(HOUR);
  assert.equal(await source.hold(asking()), first);
  assert.equal(posted.length, 1);
  source.refused(first);
  assert.deepEqual(await source.hold(asking()), { kind: "identity", token: refreshToken(2) });
  await clock.advance(3 * HOUR);
  assert.deepEqual(await source.hold(asking()), { kind: "identity", token: refreshToken(3) });
});

test("a user-assigned identity is asked for by its client id", async (t) => {
  const { open, asking, cloud } = await azureScene(t, identity);
  await (await open(form({ clientId: "11111111-2222-3333-4444-555555555555" }))).hold(asking());
  assert.match(cloud.seen[0]?.url ?? "", /client_id=11111111-2222-3333-4444-555555555555/);
});

test("a service principal shows its secret to Entra alone, and a secret that is replaced is used after a refusal", async (t) => {
  const { open, asking, cloud, posted, dir } = await azureScene(t, entra);
  const file = `${dir}/secret`;
  writeFileSync(file, `${SECRET}\n`);
  const baseline = openResources();
  const source = await open(form({ clientId: "app", tenantId: "tenant", secret: { from: "file", file } }));
  assert.equal(source.account, "azure:app");
  const held = await source.hold(asking());
  assert.deepEqual(held, { kind: "identity", token: refreshToken(1) });
  const tokenRequest = () => cloud.seen.findLast(({ method }) => method === "POST");
  const sent = () => Object.fromEntries(new URLSearchParams(tokenRequest()?.body));
  assert.equal(tokenRequest()?.url.split("?")[0], "/tenant/oauth2/v2.0/token");
  assert.equal(tokenRequest()?.headers["x-asked"], "login.microsoftonline.com");
  assert.equal(sent().client_secret, SECRET);
  assert.match(sent().scope ?? "", /https:\/\/containerregistry\.azure\.net\/\.default/);
  assert.equal(posted[0]?.form.tenant, "tenant");
  assert.equal(posted[0]?.form.client_secret, undefined);
  writeFileSync(file, "replaced");
  assert.ok(held);
  source.refused(held);
  await source.hold(asking());
  assert.equal(sent().client_secret, "replaced");
  assert.deepEqual(await residueSince(baseline), []);
});

test("registries of the national clouds have their own Entra and audience", async (t) => {
  for (const [name, asked, audience] of [
    ["images.azurecr.cn", "login.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default"],
    ["images.azurecr.us", "login.microsoftonline.us", "https://management.usgovcloudapi.net/.default"],
  ] as const) {
    const { open, asking, cloud, surroundings } = await azureScene(t, entra, undefined, name);
    assert.equal(surroundings.name, name);
    const env = { from: "value", value: SECRET } as const;
    await (await open(form({ clientId: "app", tenantId: "tenant", secret: env }))).hold(asking());
    const request = cloud.seen.findLast(({ method }) => method === "POST");
    assert.equal(request?.headers["x-asked"], asked);
    assert.ok((new URLSearchParams(request?.body).get("scope") ?? "").includes(audience));
  }
});

test("a registry that does not exchange, or badly, is one line without a secret", async (t) => {
  const answer = (body: unknown) => Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
  const cases: readonly (readonly [answer: Buffer | Failure, kind: string, text: RegExp])[] = [
    [new Failure("refused", "the registry said no"), "refused", /^the registry said no$/],
    [answer("<html>s3cr3t"), "unreachable", /exchanged the Entra token for no refresh token$/],
    [answer({ refresh_token: `${SECRET} ${SECRET}` }), "unreachable", /for no refresh token$/],
    [answer({ access_token: SECRET }), "unreachable", /for no refresh token$/],
    [answer({ refresh_token: jwt({ iat: 2000, exp: 1000, jti: SECRET }) }), "unreachable", /had already expired$/],
  ];
  for (const [given, kind, text] of cases) {
    const { open, asking, posted } = await azureScene(t, identity, () => given);
    const source = await open(form());
    for (let time = 0; time < 3; time += 1) {
      await assert.rejects(source.hold(asking()), (error: unknown) => {
        assert.ok(error instanceof Failure, String(error));
        assert.equal(error.kind, kind);
        assert.match(error.message, text);
        assert.ok(!`${error.message}${error.stack}${String(error.cause)}`.includes(SECRET));
        return true;
      });
    }
    // Not asked again for ten seconds.
    assert.equal(posted.length, 1);
  }
});

test("a refresh token that says nothing of its life is good for an hour", async (t) => {
  let token = "opaque-1";
  const { open, asking, posted, clock } = await azureScene(t, identity, () =>
    Buffer.from(`{"refresh_token":"${token}"}`),
  );
  const source = await open(form());
  assert.deepEqual(await source.hold(asking()), { kind: "identity", token });
  token = "opaque-2";
  await clock.advance(HOUR);
  assert.deepEqual(await source.hold(asking()), { kind: "identity", token });
  assert.equal(posted.length, 2);
});

test("what Entra says badly, or not at all, is one line without a secret", async (t) => {
  const cases: readonly (readonly [name: string, reply: Reply, kind: string, text: RegExp])[] = [
    [
      "a wrong secret",
      (_request, response) =>
        sendJson(response, { error: "invalid_client", error_description: `AADSTS7000215: ${SECRET}` }, 401),
      "refused",
      /^images\.azurecr\.io: Entra ID gives no credentials \(AuthenticationRequiredError, invalid_client\)$/,
    ],
    [
      "500",
      (_request, response) => sendJson(response, { error: SECRET }, 500),
      "unreachable",
      /Entra ID cannot be asked for credentials/,
    ],
    [
      "HTML",
      (_request, response) => response.end(`<html>${SECRET}`),
      "unreachable",
      /Entra ID cannot be asked for credentials/,
    ],
    ["cut off", (_request, response) => response.socket?.destroy(), "unreachable", /Entra ID cannot be asked/],
  ];
  for (const [name, reply, kind, text] of cases) {
    await t.test(name, async (inner) => {
      const { open, asking, posted } = await azureScene(inner, reply);
      const secret = { from: "value", value: SECRET } as const;
      const baseline = openResources();
      const source = await open(form({ clientId: "app", tenantId: "tenant", secret }));
      await assert.rejects(source.hold(asking()), (error: unknown) => {
        assert.ok(error instanceof Failure, String(error));
        assert.equal(error.kind, kind, error.message);
        assert.match(error.message, text);
        assert.ok(!`${error.message}${error.stack}${String(error.cause)}`.includes(SECRET));
        assert.doesNotMatch(error.message, /\n/);
        return true;
      });
      assert.deepEqual(posted, []);
      assert.deepEqual(await residueSince(baseline), []);
    });
  }
});

test("an Entra that never answers is given up after a time", async (t) => {
  const seen: Seen[] = [];
  const { open, asking, clock } = await azureScene(t, (request) => seen.push(request));
  const secret = { from: "value", value: SECRET } as const;
  const baseline = openResources();
  const source = await open(form({ clientId: "app", tenantId: "never", secret }));
  const waiting = assert.rejects(source.hold(asking()), {
    kind: "unreachable",
    timedOut: true,
    message: /within 20 s$/,
  });
  while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  await clock.advance(20_000);
  await waiting;
  assert.deepEqual(await residueSince(baseline), []);
  assert.equal(clock.pending, 0);
});
