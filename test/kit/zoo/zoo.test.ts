/**
 * The zoo itself: that it is as strict as what it stands for, and that it tells on a client that does what none may.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { IncomingHttpHeaders } from "node:http";
import { Agent, request } from "node:https";
import { test } from "node:test";
import { judgeAddress } from "../../../src/upstream/network/addresses.ts";
import { BufferContent } from "../content.ts";
import { openResources, residueSince } from "../residue.ts";
import { TAG } from "./enclosure.ts";
import { dockerHub } from "./families/docker-hub.ts";
import { ecr } from "./families/ecr.ts";
import { ghcr } from "./families/ghcr.ts";
import { acr } from "./families/microsoft.ts";
import { FAMILIES } from "./families.ts";
import { AZURE, CLOUDFLARE, CLOUDFRONT, GOOGLE, S3, Storage } from "./storage.ts";
import { pemFile, Zoo } from "./zoo.ts";

interface Told {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Asks a host of the zoo by a client that follows and keeps nothing. */
function ask(
  zoo: Zoo,
  url: string,
  headers: Record<string, string> = {},
  method = "GET",
  form?: Record<string, string>,
  agent: Agent | false = false,
): Promise<Told> {
  const { hostname, host, pathname, search } = new URL(url);
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{ host: "127.0.0.1", port: zoo.port, servername: hostname, ca: readFileSync(pemFile("zoo-ca")) },
        ...{
          method,
          path: pathname + search,
          headers: { host, "accept-encoding": "identity", ...headers },
          agent,
        },
      },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () => {
          resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString() });
        });
      },
    );
    sent.on("error", reject);
    sent.end(form === undefined ? undefined : new URLSearchParams(form).toString());
  });
}

const tokenIn = ({ body }: Told): string => String(JSON.parse(body).token);

test("every host has its name in the certificate, and an address that is judged public", async () => {
  const certificate = new X509Certificate(readFileSync(pemFile("zoo")));
  for (const { variants } of FAMILIES) {
    for (const open of Object.values(variants)) {
      const { houses } = open();
      await using zoo = await Zoo.open(houses);
      for (const { host } of houses) {
        const [name = "", port = "443"] = host.split(":");
        assert.equal(certificate.checkHost(name), name);
        const { promise, resolve } = Promise.withResolvers<string | undefined>();
        zoo.network.resolve?.(name, { all: true }, (_error, addresses) => resolve(addresses[0]?.address));
        assert.equal(judgeAddress((await promise) ?? ""), "public");
        assert.deepEqual(zoo.network.divert?.(name, Number(port)), { address: "127.0.0.1", port: zoo.port });
      }
    }
  }
});

test("a name that is none of the zoo's does not resolve, a connection there goes nowhere, and both are told", async () => {
  await using zoo = await Zoo.open([{ host: "ghcr.io", desks: [] }]);
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  zoo.network.resolve?.("evil.example.net", { all: true }, (error) => resolve(error?.code));
  assert.equal(await promise, "ENOTFOUND");
  assert.equal(zoo.network.divert?.("ghcr.io", 80)?.address, "127.0.0.1");
  assert.notEqual(zoo.network.divert?.("ghcr.io", 80)?.port, zoo.port);
  assert.equal(zoo.trespasses.length, 3);
});

for (const [name, flavour] of Object.entries({ S3, CLOUDFRONT, CLOUDFLARE, AZURE, GOOGLE })) {
  test(`storage, ${name}: a signed URL is good for one method, one object, a while, and nobody's Authorization`, async () => {
    const storage = new Storage({ host: "quay.io", flavour });
    await using zoo = await Zoo.open([{ host: "quay.io", desks: [storage] }]);
    const content = new BufferContent(Buffer.from("0123456789"));
    const url = storage.sign("GET", "/a", content);
    assert.equal((await ask(zoo, url)).body, "0123456789");
    const part = await ask(zoo, url, { range: "bytes=2-4" });
    assert.deepEqual([part.status, part.body, part.headers["content-range"]], [206, "234", "bytes 2-4/10"]);
    assert.equal((await ask(zoo, url, {}, "HEAD")).status, 403);
    assert.equal((await ask(zoo, url.replace("/a?", "/b?"))).status, 403);
    assert.equal((await ask(zoo, "https://quay.io/a")).status, 403);
    assert.deepEqual(zoo.trespasses, []);
    assert.equal((await ask(zoo, url, { authorization: "Bearer registry" })).status, 400);
    assert.equal(zoo.trespasses.length, 1);
    storage.expireAll();
    assert.equal((await ask(zoo, url)).status, 403);
  });
}

test("a token is good for the repository it was given for, while it lives, at its registry", async () => {
  const { houses, expireTokens, stock } = dockerHub.variants["anonymous"]?.() ?? assert.fail();
  await using zoo = await Zoo.open(houses);
  const manifest = (name: string) => `https://registry-1.docker.io/v2/library/${name}/manifests/${TAG}`;
  const refused = await ask(zoo, manifest("nginx"));
  assert.equal(refused.status, 401);
  assert.equal(
    refused.headers["www-authenticate"],
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull"',
  );
  const realm = "https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/nginx:pull";
  const authorization = `Bearer ${tokenIn(await ask(zoo, realm))}`;
  const served = await ask(zoo, manifest("nginx"), { authorization });
  assert.equal(served.headers["docker-content-digest"], stock.first.digest);
  assert.equal(served.headers["ratelimit-remaining"], "99;w=21600");
  const head = await ask(zoo, manifest("nginx"), { authorization }, "HEAD");
  assert.equal(head.headers["ratelimit-remaining"], "99;w=21600", "looking is free");
  assert.match(
    String((await ask(zoo, manifest("redis"), { authorization })).headers["www-authenticate"]),
    /insufficient_scope/,
  );
  assert.deepEqual(zoo.trespasses, []);
  expireTokens?.();
  assert.match(
    String((await ask(zoo, manifest("nginx"), { authorization })).headers["www-authenticate"]),
    /invalid_token/,
  );
  assert.deepEqual(zoo.trespasses, [], "an expired token is the registry's all the same");
  await ask(zoo, manifest("nginx"), { authorization: "Bearer of-somebody-else" });
  await ask(zoo, realm, { authorization });
  await ask(zoo, realm, { cookie: "a=b" });
  const wrong = await ask(zoo, realm, { authorization: `Basic ${Buffer.from("acmebot:wrong").toString("base64")}` });
  assert.equal(wrong.status, 401);
  assert.equal(zoo.trespasses.length, 4);
});

test("GHCR finds nothing for who does not accept its type, and ECR's refusal is no JSON", async () => {
  const github = ghcr.variants["anonymous"]?.() ?? assert.fail();
  await using zoo = await Zoo.open(github.houses);
  const realm = `https://ghcr.io/token?service=ghcr.io&scope=repository:${github.names.first}:pull`;
  const authorization = `Bearer ${tokenIn(await ask(zoo, realm))}`;
  const url = `https://ghcr.io/v2/${github.names.first}/manifests/${TAG}`;
  const accept = "application/vnd.docker.distribution.manifest.v2+json, */*";
  assert.equal((await ask(zoo, url, { authorization, accept })).status, 404);
  assert.equal((await ask(zoo, url, { authorization, accept: github.stock.first.mediaType })).status, 200);
  assert.equal((await ask(zoo, realm.replace(github.names.first, "acme/absent"))).status, 403);

  const amazon = ecr.variants["AWS password"]?.() ?? assert.fail();
  await using other = await Zoo.open(amazon.houses);
  const refused = await ask(other, `https://${amazon.upstream}/v2/${amazon.names.first}/tags/list`);
  assert.deepEqual(
    [refused.status, refused.body, refused.headers["content-type"]],
    [401, "Not Authorized\n", "text/plain; charset=utf-8"],
  );
});

test("ACR exchanges a refresh token by POST, for who has one", async () => {
  const { houses, account, names, upstream } = acr.variants["refresh token as password"]?.() ?? assert.fail();
  await using zoo = await Zoo.open(houses);
  const scope = `repository:${names.first}:pull`;
  const form = { grant_type: "refresh_token", service: upstream, scope, refresh_token: account?.password ?? "" };
  const post = (fields: Record<string, string>) => ask(zoo, `https://${upstream}/oauth2/token`, {}, "POST", fields);
  const granted = await post(form);
  const authorization = `Bearer ${JSON.parse(granted.body).access_token}`;
  const url = `https://${upstream}/v2/${names.first}/manifests/${TAG}`;
  assert.equal((await ask(zoo, url, { authorization })).status, 200);
  assert.equal((await ask(zoo, url.replace(names.first, names.second), { authorization })).status, 401);
  assert.equal((await post({ ...form, grant_type: "password" })).status, 400);
  assert.deepEqual(zoo.trespasses, []);
  assert.equal((await post({ ...form, refresh_token: "of-somebody-else" })).status, 401);
  assert.equal(zoo.trespasses.length, 1);
});

test("a zoo that is closed leaves nothing open, though a client still holds a connection", async () => {
  const baseline = openResources();
  const { houses } = dockerHub.variants["anonymous"]?.() ?? assert.fail();
  const zoo = await Zoo.open(houses);
  const agent = new Agent({ keepAlive: true });
  const told = await ask(zoo, "https://registry-1.docker.io/v2/", {}, "GET", undefined, agent);
  assert.equal(told.status, 401);
  await zoo[Symbol.asyncDispose]();
  assert.deepEqual(await residueSince(baseline), []);
  agent.destroy();
});
