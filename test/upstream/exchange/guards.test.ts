/**
 * Where requests and credentials may go: addresses, redirects, realms.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { findRepositoryIn } from "../../../src/upstream/auth/guests.ts";
import { judgeRealm } from "../../../src/upstream/auth/realm.ts";
import { judgeRedirect } from "../../../src/upstream/exchange/redirect.ts";
import { judgeAddress, judgedAddresses, refusalOfLiteral } from "../../../src/upstream/network/addresses.ts";

describe("addresses", () => {
  test("only unicast addresses of the open network are public", () => {
    for (const address of ["8.8.8.8", "2606:4700::1", "64:ff9b::808:808"])
      assert.equal(judgeAddress(address), "public");
    const closed =
      "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.1.1 100.64.0.1 ::1 fe80::1 fe80::1%1 fd00::1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 64:ff9b::a00:1 ::808:808 ::7f00:1 4000::1 6000::1 2002:a00:1:: 198.18.0.1 192.0.2.1 2001:db8::1";
    for (const address of closed.split(" ")) assert.equal(judgeAddress(address), "private", address);
  });

  test("metadata services, multicast and the unspecified address stay closed even where private is allowed", () => {
    const never =
      "169.254.169.254 fd00:ec2::254 ::ffff:169.254.169.254 ::ffff:a9fe:a9fe 64:ff9b::a9fe:a9fe ::a9fe:a9fe 168.63.129.16 0.0.0.0 :: 224.0.0.1 ff02::1 255.255.255.255 nonsense fe80::a9fe:a9fe fe80::a9fe:a9fe%eth0 169.254.42.42 169.254.0.23 fd00:42::42 2002:a9fe:a9fe::1 2002:a83f:8110::1 64:ff9b:1::a9fe:a9fe 64:ff9b:1:a9fe:a9:fe00:: 64:ff9b:1:fd:a9:fea9:fe00:0 64:ff9b:1::a9:fea9:fe00:0 ::ffff:0:a9fe:a9fe";
    for (const address of never.split(" ")) assert.equal(judgeAddress(address), "forbidden", address);
    assert.notEqual(refusalOfLiteral("169.254.169.254", true), undefined);
  });

  test("literals are judged without a lookup, names are not literals", () => {
    assert.notEqual(refusalOfLiteral("[::1]", false), undefined);
    assert.equal(refusalOfLiteral("[::1]", true), undefined);
    assert.equal(refusalOfLiteral("8.8.8.8", false), undefined);
    assert.equal(refusalOfLiteral("localhost", false), undefined);
  });

  test("a name with one address that is not public is refused whole", async () => {
    const ask = (allowPrivate: boolean, ...addresses: string[]) =>
      judgedAddresses("cdn.example", allowPrivate, (_name, _options, callback) =>
        callback(
          null,
          addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
        ),
      );
    assert.deepEqual(await ask(false, "8.8.8.8", "1.1.1.1"), ["8.8.8.8", "1.1.1.1"]);
    await assert.rejects(ask(false, "8.8.8.8", "10.0.0.1"), /allowPrivate/);
    assert.deepEqual(await ask(true, "10.0.0.1"), ["10.0.0.1"]);
    await assert.rejects(ask(true, "169.254.169.254"), { name: "AddressRefused" });
    await assert.rejects(ask(true), { name: "AddressRefused" });
  });
});

describe("redirects", () => {
  const endpoint = new URL("https://registry.example/");
  const from = new URL("https://registry.example/v2/a/blobs/x");
  const judge = (location: string | undefined, more: object = {}) =>
    judgeRedirect({ location, from, endpoint, visited: [from.href], ...more });

  test("two Locations are none", () => {
    assert.ok("refuse" in judgeRedirect({ location: ["/a", "/b"], from, endpoint, visited: [] }));
  });

  test("downgrades, user names, other schemes, garbage and loops are refused", () => {
    for (const bad of [
      "http://registry.example/x",
      "https://u:p@cdn.example/",
      "ftp://x/",
      "file:///etc/passwd",
      "https://",
      "",
      from.href,
      `/${"x".repeat(9000)}`,
      undefined,
    ]) {
      assert.ok("refuse" in judge(bad), String(bad));
    }
    const plain = new URL("http://registry.local:5000/");
    assert.ok("follow" in judge("http://minio.local/x", { endpoint: plain }));
    assert.ok("follow" in judge("https://minio.local/x", { endpoint: plain }));
  });

  test("ten hops are followed, an eleventh is not", () => {
    const visited = (count: number) => Array.from({ length: count }, (_, at) => `https://h/${at}`);
    assert.ok("follow" in judge("/y", { visited: visited(10) }));
    assert.ok("refuse" in judge("/y", { visited: visited(11) }));
  });

  test("no Location makes it throw, and none that is followed leaves https", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.webUrl()), (location) => {
        const verdict = judge(location);
        if ("follow" in verdict) assert.equal(verdict.follow.protocol, "https:");
      }),
    );
  });
});

describe("realms", () => {
  const judge = (endpoint: string, realm: string, withCredential = true, tokenRealm: string | null = null) =>
    "ask" in judgeRealm({ endpoint: new URL(endpoint), realm, withCredential, tokenRealm });

  test("a credential goes to the registry's own host, domain, known or configured token server", () => {
    assert.ok(judge("https://registry-1.docker.io", "https://auth.docker.io/token"));
    assert.ok(judge("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
    assert.ok(judge("https://harbor.corp.example", "https://harbor.corp.example/service/token"));
    assert.ok(judge("https://reg.corp.example.com", "https://login.corp.example.com/token"));
    assert.ok(judge("https://reg.one.example", "https://sso.two.example/t?x=1", true, "https://sso.two.example/t"));
  });

  test("a credential goes nowhere else", () => {
    assert.ok(!judge("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token"));
    assert.ok(!judge("https://mirror.example", "https://auth.docker.io/token"));
    assert.ok(!judge("https://one.github.io", "https://two.github.io/token"));
    assert.ok(!judge("https://reg.corp.example.com", "http://login.corp.example.com/token"));
    assert.ok(!judge("https://reg.corp.example", "https://u@reg.corp.example/token"));
    assert.ok(!judge("https://reg.corp.example", "https://127.0.0.1/token"));
    assert.ok(!judge("http://registry.localhost", "http://localhost/token"));
    assert.ok(!judge("https://10.0.0.1", "https://10.0.0.2/token"));
    assert.ok(!judge("https://reg.one.example", "https://sso.two.example/other", true, "https://sso.two.example/t"));
    assert.ok(!judge("https://reg.one.example", "not a url"));
  });

  test("tenants of one hosting domain are strangers, also with the root's dot", () => {
    for (const suffix of [
      "azurecr.io",
      "aliyuncs.com",
      "tencentcloudcr.com",
      "vultrcr.com",
      "blob.core.windows.net",
      "rg.fr-par.scw.cloud",
      "localtest.me",
    ]) {
      for (const [one, other] of [
        ["", ""],
        [".", ""],
        ["", "."],
        [".", "."],
      ]) {
        assert.ok(!judge(`https://victim.${suffix}${one}`, `https://thief.${suffix}${other}/token`), suffix);
      }
    }
    assert.ok(judge("https://reg.corp.example.com.", "https://login.corp.example.com/token"));
  });

  test("a realm on the registry's own host is asked by TLS where the registry is, never by less", () => {
    const asked = (endpoint: string, realm: string) => {
      const verdict = judgeRealm({ endpoint: new URL(endpoint), realm, withCredential: true, tokenRealm: null });
      return "ask" in verdict ? verdict.ask.href : undefined;
    };
    const path = "/service/token";
    assert.equal(asked("https://harbor.example", `http://harbor.example${path}`), `https://harbor.example${path}`);
    assert.equal(asked("https://h.example:8443", `http://h.example:8443${path}`), `https://h.example:8443${path}`);
    assert.equal(asked("http://harbor.example", `https://harbor.example${path}`), `https://harbor.example${path}`);
    assert.equal(asked("http://harbor.example", `http://harbor.example${path}`), `http://harbor.example${path}`);
    assert.equal(asked("https://harbor.example", `http://evil.example${path}`), undefined);
  });

  test("the token servers of known registries are theirs alone", () => {
    assert.ok(judge("https://registry.ipv6.docker.com", "https://auth.ipv6.docker.com/token"));
    assert.ok(judge("https://contoso.azurecr.io", "https://contoso.azurecr.io/oauth2/token"));
    assert.ok(!judge("https://contoso.azurecr.io", "https://other.azurecr.io/oauth2/token"));
    assert.ok(judge("https://europe-docker.pkg.dev", "https://europe-docker.pkg.dev/v2/token"));
    assert.ok(!judge("https://europe-docker.pkg.dev", "https://us-docker.pkg.dev/v2/token"));
    assert.ok(!judge("http://registry.gitlab.com", "https://auth.docker.io/token"));
  });

  test("two names under a suffix that nobody gives out, or of one hoster's tenants, are two sites", () => {
    for (const suffix of [
      "internal",
      "corp.internal",
      "lan",
      "azurecr.io",
      "pkg.dev",
      "jfrog.io",
      "ocir.io",
      "icr.io",
      "10.0.0.1.nip.io",
      "dkr.ecr.us-east-1.amazonaws.com",
    ]) {
      assert.ok(!judge(`https://one.${suffix}`, `https://two.${suffix}/token`), suffix);
      assert.ok(judge(`https://one.${suffix}`, `https://one.${suffix}/token`), suffix);
    }
  });

  test("an anonymous request may go elsewhere, but not by plain HTTP", () => {
    assert.ok(judge("https://reg.example", "https://tokens.other.example/t", false));
    assert.ok(!judge("https://reg.example", "http://tokens.other.example/t", false));
    assert.ok(judge("http://reg.example", "http://tokens.other.example/t", false));
  });
});

test("what a redirect's target is called is read from its URL, where that is a registry's", () => {
  const named = (url: string) => findRepositoryIn(new URL(url));
  const host = "https://us-docker.pkg.dev";
  assert.equal(named(`${host}/v2/k8s-artifacts-prod/images/pause/manifests/3.9`), "k8s-artifacts-prod/images/pause");
  assert.equal(named(`${host}/api/docker/v2/a/blobs/sha256:${"a".repeat(64)}?x=1`), "a");
  for (const other of ["/artifacts-downloads/x", "/v2/", "/v2/A/manifests/x", "/v2/a%2Fb/manifests/x", "/v2/a/b/c"])
    assert.equal(named(`${host}${other}`), undefined, other);
});
