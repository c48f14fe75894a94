/**
 * The parsers of what upstreams say: challenges, links, error texts, Retry-After.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { chooseChallenge, parseChallenges } from "../../src/upstream/auth/challenge.ts";
import { findNextQuery, parseLinks } from "../../src/upstream/exchange/link.ts";
import { excerptOf, findErrorText } from "../../src/upstream/exchange/redact.ts";
import { findCount, findRetryAfter } from "../../src/upstream/exchange/trouble.ts";

const shown = (header: string | string[]) =>
  parseChallenges(header).map(({ scheme, parameters, token68 }) => ({
    scheme,
    ...Object.fromEntries(parameters),
    ...(token68 === undefined ? {} : { token68 }),
  }));

test("a challenge is read whatever its quoting, order and spacing", () => {
  assert.deepEqual(
    shown('Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull,push"'),
    [
      {
        scheme: "bearer",
        realm: "https://auth.docker.io/token",
        service: "registry.docker.io",
        scope: "a:b:pull,push",
      },
    ],
  );
  assert.deepEqual(shown("bearer service=gcr.io , REALM = https://gcr.io/v2/token"), [
    { scheme: "bearer", service: "gcr.io", realm: "https://gcr.io/v2/token" },
  ]);
  assert.deepEqual(shown('Bearer realm="a\\"b\\\\c"'), [{ scheme: "bearer", realm: 'a"b\\c' }]);
});

test("several challenges are told apart in one header and in several", () => {
  const both = [
    { scheme: "basic", realm: "x, y" },
    { scheme: "bearer", realm: "https://h/t" },
  ];
  assert.deepEqual(shown('Basic realm="x, y", Bearer realm="https://h/t"'), both);
  assert.deepEqual(shown(['Basic realm="x, y"', 'Bearer realm="https://h/t"']), both);
  assert.deepEqual(shown("Negotiate, NTLM TlRMTVNT==, Basic"), [
    { scheme: "negotiate" },
    { scheme: "ntlm", token68: "TlRMTVNT==" },
    { scheme: "basic" },
  ]);
});

test("Bearer is chosen before Basic, and an unknown scheme never", () => {
  assert.equal(chooseChallenge(parseChallenges('Basic realm="x", Bearer realm="y"'))?.scheme, "bearer");
  assert.equal(chooseChallenge(parseChallenges('Bearer x="y", Basic realm="x"'))?.scheme, "basic");
  assert.equal(chooseChallenge(parseChallenges('Digest realm="x"')), undefined);
});

test("challenges as registries send them lead to the right one", () => {
  const chosen = (header: string | string[]) => {
    const challenge = chooseChallenge(parseChallenges(header));
    return challenge === undefined
      ? undefined
      : { scheme: challenge.scheme, ...Object.fromEntries(challenge.parameters) };
  };
  // Artifact Registry names no service.
  assert.deepEqual(chosen('Bearer realm="https://us-docker.pkg.dev/v2/token",scope="repository:p/r/i:pull"'), {
    scheme: "bearer",
    realm: "https://us-docker.pkg.dev/v2/token",
    scope: "repository:p/r/i:pull",
  });
  // Gitea and Forgejo, in one header without a space; Quay of old, Basic first.
  const gitea = { scheme: "bearer", realm: "https://codeberg.org/v2/token", service: "container_registry", scope: "*" };
  const ofGitea = 'Bearer realm="https://codeberg.org/v2/token",service="container_registry",scope="*"';
  assert.deepEqual(
    chosen(`${ofGitea},Basic realm="https://codeberg.org/v2",service="container_registry",scope="*"`),
    gitea,
  );
  assert.deepEqual(chosen([ofGitea, 'Basic realm="x"']), gitea);
  assert.deepEqual(chosen('Basic realm="quay", bearer realm="https://quay.io/v2/auth", service="quay.io"'), {
    scheme: "bearer",
    realm: "https://quay.io/v2/auth",
    service: "quay.io",
  });
  assert.deepEqual(chosen('Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr.amazonaws.com"'), {
    scheme: "basic",
    realm: "https://1.dkr.ecr.eu-west-1.amazonaws.com/",
    service: "ecr.amazonaws.com",
  });
  // A Bearer without a realm asks nobody; an error in front of the realm changes nothing.
  assert.equal(chosen('Bearer error="invalid_token"'), undefined);
  assert.equal(chosen('Bearer error="insufficient_scope", realm=https://h/t')?.scheme, "bearer");
});

test("whatever stands around a challenge, in whatever order and quoting, the same one is chosen", () => {
  const noise = fc.constantFrom('Basic realm="a, b"', "Negotiate", "NTLM TlRM==", 'Digest realm="x", nonce="y=="', "");
  const name = (text: string) => fc.constantFrom(text, text.toUpperCase());
  const parameters = [
    ["realm", "https://h.example/t"],
    ["service", "s"],
    ["scope", "repository:a/b:pull"],
  ] as const;
  const written = fc
    .tuple(
      name("bearer"),
      fc.shuffledSubarray([...parameters], { minLength: 3 }),
      fc.boolean(),
      fc.constantFrom(",", ", ", " , "),
    )
    .map(([scheme, order, quoted, comma]) => {
      const values = order.map(([key, value]) => (quoted ? `${key}="${value}"` : `${key}=${value}`));
      return `${scheme} ${values.join(comma)}`;
    });
  fc.assert(
    fc.property(noise, written, noise, fc.boolean(), (before, bearer, after, isOneHeader) => {
      const parts = [before, bearer, after].filter((one) => one !== "");
      const challenge = chooseChallenge(parseChallenges(isOneHeader ? parts.join(", ") : parts));
      assert.equal(challenge?.scheme, "bearer");
      assert.deepEqual(Object.fromEntries(challenge?.parameters ?? []), Object.fromEntries(parameters));
    }),
  );
});

test("a megabyte of anything is at most a few challenges", () => {
  for (const part of ["Bearer ", 'Bearer realm="', ",,,,", "a=b ", '\\"', "Basic, "]) {
    const text = part.repeat(Math.ceil(1_048_576 / part.length));
    const challenges = parseChallenges(text);
    assert.ok(challenges.length <= 16, part);
    for (const { parameters } of challenges) assert.ok(parameters.size <= 32, part);
  }
});

test("no text makes the challenge parser throw, and what it returns is bounded", () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[Bb ar=",\\;]{0,60}$/)), (text) => {
      const challenges = parseChallenges(text);
      assert.ok(challenges.length <= 16);
    }),
  );
  for (const part of ['"', '\\"', '"\\', "a=", "a,", "Bearer a=b,"]) {
    const startedAt = performance.now();
    parseChallenges(part.repeat(20_000));
    parseLinks(part.repeat(20_000));
    assert.ok(performance.now() - startedAt < 2_000, part);
  }
});

test("challenges that are written are read again", () => {
  const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9_-]{0,12}$/);
  const challenge = fc.record({
    scheme: token,
    parameters: fc.uniqueArray(fc.tuple(token, fc.string({ maxLength: 20 })), {
      minLength: 1,
      maxLength: 5,
      selector: ([name]) => name.toLowerCase(),
    }),
  });
  fc.assert(
    fc.property(fc.array(challenge, { maxLength: 5 }), (challenges) => {
      const text = challenges
        .map(({ scheme, parameters }) => {
          const written = parameters.map(([name, value]) => `${name}="${value.replace(/["\\]/g, "\\$&")}"`);
          return `${scheme} ${written.join(", ")}`;
        })
        .join(", ");
      assert.deepEqual(
        parseChallenges(text).map(({ scheme, parameters }) => [scheme, [...parameters]]),
        challenges.map(({ scheme, parameters }) => [
          scheme.toLowerCase(),
          parameters.map(([name, value]) => [name.toLowerCase(), value]),
        ]),
      );
    }),
  );
});

test("the next page's query is taken from the link with rel=next, and only the query", () => {
  assert.equal(findNextQuery('</v2/a/tags/list?n=2&last=b>; rel="next"'), "n=2&last=b");
  assert.equal(findNextQuery('<https://evil.example/x?last=b#f>; title="a;,b"; REL=Next'), "last=b");
  assert.equal(findNextQuery('</a?p=1>; rel="prev", </a?p=3>; rel="last next"'), "p=3");
  assert.equal(findNextQuery('</a?p=1>; rel="prev"; rel="next"'), undefined);
  assert.equal(findNextQuery("</a>; rel=next"), undefined);
  assert.equal(findNextQuery(`</a?${"x".repeat(5000)}>; rel=next`), undefined);
  assert.equal(findNextQuery("</a?a b>; rel=next"), undefined);
  assert.equal(findNextQuery(undefined), undefined);
});

test("no text makes the link parser throw", () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^[<>?;="rel ,\\]{0,60}$/)),
      (text) => void findNextQuery(text),
    ),
  );
  fc.assert(
    fc.property(fc.stringMatching(/^[A-Za-z0-9=&%._-]{1,50}$/), (query) => {
      assert.equal(findNextQuery(`</v2/x/tags/list?${query}>; rel="next"`), query);
    }),
  );
});

test("Retry-After is read as seconds and as a date, and bounded", () => {
  const now = Date.UTC(2026, 0, 1);
  assert.equal(findRetryAfter("30", now), 30_000);
  assert.equal(findRetryAfter("Thu, 01 Jan 2026 00:01:00 GMT", now), 60_000);
  assert.equal(findRetryAfter("Thu, 01 Jan 2025 00:01:00 GMT", now), 0);
  assert.equal(findRetryAfter("999999999", now), 86_400_000);
  for (const bad of ["", "soon", "-1", "1.5"]) assert.equal(findRetryAfter(bad, now), undefined, bad);
  assert.equal(findCount("100;w=21600"), 100);
  assert.equal(findCount("x"), undefined);
});

test("error texts are short, printable and without queries", () => {
  const same = (text: string) => text;
  assert.equal(
    findErrorText('{"errors":[{"code":"DENIED","message":"no\\u0007 way"}]}', undefined, same),
    "DENIED: no way",
  );
  assert.equal(findErrorText("<html>x</html>", "text/html", same), undefined);
  assert.equal(findErrorText("Not Authorized\n", "text/plain; charset=utf-8", same), "Not Authorized");
  assert.equal(excerptOf("see https://s3.example/x?X-Amz-Signature=abc now"), "see https://s3.example/x?… now");
  assert.ok(excerptOf("x".repeat(10_000)).length <= 300);
  fc.assert(fc.property(fc.string(), (text) => void findErrorText(text, "text/plain", same)));
});
