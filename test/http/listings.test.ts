/** Links to the next page lead back to this mirror, by the form that the client used. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseCall } from "../../src/http/call.ts";
import { nextLink } from "../../src/http/listings.ts";

const targetOf = (link: string) => /^<([^<>]+)>; rel="next"$/.exec(link)?.[1] ?? assert.fail(link);

test("a link keeps the client's path and takes the upstream's paging", () => {
  assert.equal(nextLink("/v2/a/tags/list", "n=5&last=x"), '</v2/a/tags/list?n=5&last=x>; rel="next"');
  assert.equal(nextLink("/v2/a/tags/list?n=9&last=b", "n=5&last=x"), '</v2/a/tags/list?n=5&last=x>; rel="next"');
  assert.equal(nextLink("/ghcr.io/v2/a/tags/list?n=5", "last=x"), '</ghcr.io/v2/a/tags/list?last=x>; rel="next"');
});

test("a link keeps which upstream and which artifacts the client asked for, whatever the upstream says", () => {
  assert.equal(
    nextLink("/v2/a/tags/list?ns=ghcr.io&n=5", "n=5&last=x&ns=evil.example"),
    '</v2/a/tags/list?n=5&last=x&ns=ghcr.io>; rel="next"',
  );
  assert.equal(
    nextLink("/v2/a/referrers/x?artifactType=a%2Fb", "token=1"),
    '</v2/a/referrers/x?token=1&artifactType=a%2Fb>; rel="next"',
  );
});

test("following the links, a client asks for the upstream's next page", () => {
  const asked = parseCall(targetOf(nextLink("/v2/a/tags/list?ns=ghcr.io&n=2", "n=2&last=v1.0&next=opaque%2B")));
  assert.deepEqual(asked, {
    call: { kind: "tags", name: "a", paging: { n: 2, last: "v1.0", opaque: "next=opaque%2B" } },
    ns: "ghcr.io",
    prefix: undefined,
  });
});

test("nothing in a path or in an upstream's query breaks out of the link", () => {
  fc.assert(
    fc.property(fc.string(), fc.string(), fc.string(), (path, query, own) => {
      const link = nextLink(`/v2/${path.replaceAll("?", "")}?ns=${encodeURIComponent(own)}`, query);
      assert.match(link, /^<[^<>"]*>; rel="next"$/s);
    }),
  );
});
