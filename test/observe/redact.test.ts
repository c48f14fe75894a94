/** Redaction: no secret that is named like one, or stands where secrets stand, comes through. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { redact } from "../../src/observe/redact.ts";

const SECRET = "c2VjcmV0VmFsdWU";

test("what is named like a secret loses its value", () => {
  for (const text of [
    `Authorization: Bearer ${SECRET}`,
    `{"authorization":"Basic ${SECRET}=="}`,
    `proxy-authorization: Negotiate ${SECRET}`,
    `sent Bearer ${SECRET} to upstream`,
    `sent basic ${SECRET}=`,
    `https://b.s3.amazonaws.com/x?X-Amz-Signature=${SECRET}&X-Amz-Credential=${SECRET}%2F20260101&X-Amz-Security-Token=${SECRET}`,
    `https://x.blob.core.windows.net/a?se=2026&sig=${SECRET}`,
    `https://cdn.example/x?Expires=1&Signature=${SECRET}&Key-Pair-Id=${SECRET}`,
    `https://user:${SECRET}@registry.example.com/v2/`,
    `https://${SECRET}@registry.example.com/v2/`,
    `https://auth.example/token?unknown=${SECRET}`,
    `{"token":"${SECRET}","access_token": "${SECRET}"}`,
    `password=${SECRET} refresh_token: ${SECRET}, client_secret=${SECRET}`,
    `Cookie: session=${SECRET}; other=1`,
    `eyJ${SECRET}.${SECRET}.${SECRET}`,
  ]) {
    const redacted = redact(text);
    assert.ok(!redacted.includes(SECRET), `${text} -> ${redacted}`);
    assert.ok(redacted.includes("[redacted]"), redacted);
  }
});

test("what tells something and is no secret stays", () => {
  for (const text of [
    "GET https://mirror/v2/library/alpine/tags/list?ns=docker.io&n=100&last=3.20 failed",
    "connect ECONNREFUSED 127.0.0.1:443",
    "containerd/2.1.0",
    "docker/28.0 go/go1.24 git-commit/abc kernel/6.1 os/linux arch/amd64 UpstreamClient(Docker-Client/28.0 \\(linux\\))",
    `digest sha256:${"a".repeat(64)} does not match`,
    "the token server answered 503",
  ]) {
    assert.equal(redact(text), text);
  }
});

test("redacting twice changes nothing, and long text is cut", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.string(),
          fc.webUrl({ withQueryParameters: true }),
          fc.constantFrom("Bearer ", "token=", "sig=", "Authorization: ", "&", "?"),
        ),
        { maxLength: 8 },
      ),
      (parts) => {
        const once = redact(parts.join(""));
        assert.equal(redact(once), once);
      },
    ),
  );
  assert.ok(redact("a".repeat(100_000)).length < 2100);
});
