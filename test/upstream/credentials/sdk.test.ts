/** The clouds' packages: missing, broken, and failing with secrets in every corner of what they throw. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { errnoOf, Failure } from "../../../src/base/failure.ts";
import type { CredentialForm } from "../../../src/config/credential.ts";
import { askCloud, type LoadSdk } from "../../../src/upstream/credentials/sdk.ts";
import { createScene } from "./scene.ts";

const FORMS: readonly (readonly [form: CredentialForm, needs: string])[] = [
  [{ type: "ecr", region: "eu-west-1", roleArn: undefined }, "@aws-sdk/client-ecr"],
  [{ type: "ecrPublic" }, "@aws-sdk/client-ecr-public"],
  [{ type: "google", keyFile: undefined }, "google-auth-library"],
  [{ type: "azure", clientId: undefined, tenantId: undefined, secret: undefined }, "@azure/identity"],
];

/** A package as the test plays it. */
const played = (load: (name: string) => unknown): LoadSdk => (async (name: string) => load(name)) as LoadSdk;

async function missing(): Promise<unknown> {
  const name = "@wharfinger/not-installed";
  return await import(name);
}

test("a package that is not installed is one line: which, for what, and what to do", async (t) => {
  const error = await missing().catch((thrown: unknown) => thrown);
  assert.equal(errnoOf(error), "ERR_MODULE_NOT_FOUND");
  for (const [form, needs] of FORMS) {
    const loaded: string[] = [];
    const load = played(async (name) => {
      loaded.push(name);
      return await missing();
    });
    const { open, asking, clock } = createScene(t, { load });
    const source = await open(form);
    // Nothing is loaded before it is needed.
    assert.deepEqual(loaded, []);
    for (let time = 0; time < 3; time += 1) {
      await assert.rejects(source.hold(asking()), {
        kind: "refused",
        message: `registry.example.com: its credentials need the package ${needs}, which is not installed; run npm install ${needs}, and start again`,
      });
    }
    assert.deepEqual(loaded, [needs]);
    await clock.advance(10_000);
    await assert.rejects(source.hold(asking()), { kind: "refused" });
    assert.deepEqual(loaded, [needs, needs]);
  }
});

test("a role needs one more package", async (t) => {
  const load = played(async (name) => {
    if (name === "@aws-sdk/credential-providers") return await missing();
    return { ECRClient: class {}, GetAuthorizationTokenCommand: class {} };
  });
  const { open, asking } = createScene(t, { load });
  const source = await open({ type: "ecr", region: "eu-west-1", roleArn: "arn:aws:iam::123456789012:role/x" });
  await assert.rejects(source.hold(asking()), {
    kind: "refused",
    message: /need the package @aws-sdk\/credential-providers, which is not installed/,
  });
});

test("a package that cannot be loaded is said as such, without its own words", async (t) => {
  const load = played(() => {
    throw new SyntaxError("s3cr3t");
  });
  for (const [form] of FORMS) {
    const { open, asking } = createScene(t, { load });
    await assert.rejects((await open(form)).hold(asking()), (error: unknown) => {
      assert.ok(error instanceof Failure && error.kind === "refused");
      assert.match(error.message, /which cannot be loaded; run npm install/);
      return !`${error.message}${String(error.cause)}`.includes("s3cr3t");
    });
  }
});

test("packages that never answer, take no signal and cannot be stopped are given up, and closing waits for none", async (t) => {
  const never = () => new Promise<never>(() => {});
  class Client {
    send = never;
    destroy() {}
    getClient = never;
    getToken = never;
  }
  const sdk = { ECRClient: Client, ECRPUBLICClient: Client, GoogleAuth: Client, DefaultAzureCredential: Client };
  const load = played(() => ({ ...sdk, GetAuthorizationTokenCommand: class {}, Compute: Client }));
  for (const [form] of FORMS) {
    const { open, asking, clock } = createScene(t, { load });
    const source = await open(form);
    const waiting = assert.rejects(source.hold(asking()), { kind: "unreachable", timedOut: true });
    await clock.advance(20_000);
    await waiting;
    await clock.advance(10_000);
    const again = assert.rejects(source.hold(asking()), { kind: "unreachable", message: /is stopping/ });
    await clock.advance(1);
    await source.close?.();
    await again;
    assert.equal(clock.pending, 0);
  }
});

test("whatever a package throws, no more than its kind is told", async () => {
  const secrets = fc.oneof(
    fc.base64String({ minLength: 12 }),
    fc.stringMatching(/^[A-Za-z]{12,40}$/),
    fc.stringMatching(/^[a-z]{12,40}$/),
    fc.stringMatching(/^[A-Z_]{12,40}$/),
    fc.uuid(),
    fc.constantFrom("-----BEGIN PRIVATE KEY-----\nabc", "hunter2 hunter2", "ya29.a0Af_secret", "invalid_secret_value"),
  );
  await fc.assert(
    fc.asyncProperty(secrets, fc.constantFrom(undefined, 400, 401, 403, 429, 500), async (secret, status) => {
      const thrown = Object.assign(new Error(`failed with ${secret}`), {
        name: secret,
        code: secret,
        statusCode: status,
        config: { headers: { authorization: secret } },
        response: { status, data: { error: secret, error_description: secret } },
        errorResponse: { error: secret },
        cause: { code: secret, message: secret },
        $metadata: { httpStatusCode: status, requestId: secret },
      });
      const outcome = await askCloud("up.example", "the cloud", new AbortController().signal, () =>
        Promise.reject(thrown),
      ).catch((error: unknown) => error);
      assert.ok(outcome instanceof Failure);
      assert.equal(outcome.kind, status === 400 || status === 401 || status === 403 ? "refused" : "unreachable");
      assert.ok(!`${outcome.message}${outcome.stack}${String(outcome.cause)}`.includes(secret), outcome.message);
      assert.match(outcome.message, /^up\.example: the cloud (?:gives no|cannot be asked for) credentials/);
    }),
    { numRuns: 300 },
  );
});

test("what may be told of an error is: its name, its code, its status", async () => {
  const told = async (thrown: unknown) => {
    const failure = await askCloud("up", "the cloud", new AbortController().signal, () => Promise.reject(thrown)).catch(
      (error: unknown) => error,
    );
    return failure instanceof Failure ? failure.message.replace(/^.*credentials/, "").trim() : "";
  };
  assert.equal(await told(Object.assign(new Error("x"), { name: "AccessDeniedException" })), "(AccessDeniedException)");
  assert.equal(await told(Object.assign(new Error("x"), { code: "ECONNREFUSED" })), "(ECONNREFUSED)");
  assert.equal(
    await told({ response: { status: 400, data: { error: "invalid_grant" } } }),
    "(invalid_grant, status 400)",
  );
  const cause = Object.assign(new Error("x"), { code: "ENOTFOUND", hostname: "api.example" });
  assert.equal(await told(Object.assign(new Error("x"), { code: "ENOTFOUND", cause })), "(ENOTFOUND api.example)");
  assert.equal(await told(new Error("invalid_client: AADSTS7000215: no")), "(invalid_client)");
  for (const odd of [undefined, null, 7, "text", {}, new Error("x")]) assert.equal(await told(odd), "");
});
