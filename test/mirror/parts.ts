/** The smaller parts of a mirror for a test: routes to upstreams that are never asked, and a record of notices. */
import { Notices } from "../../src/base/notices.ts";
import type { FreshnessPolicy } from "../../src/mirror/freshness.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { makeRoute, type Route } from "../../src/mirror/route.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import type { Upstream } from "../../src/upstream/upstream.ts";

export const POLICY: FreshnessPolicy = {
  tags: 300_000,
  staleWhileRevalidate: 3_600_000,
  staleIfError: 86_400_000,
  notFound: 10_000,
};

function unasked(): never {
  throw new Error("no upstream should have been asked");
}

export function routeOf(upstream = "docker.io", name = "library/alpine", freshness = POLICY): Route {
  const silent: Upstream = {
    name: upstream,
    headManifest: unasked,
    getManifest: unasked,
    headBlob: unasked,
    openBlob: unasked,
    listTags: unasked,
    listReferrers: unasked,
    budget: () => undefined,
    close: async () => {},
  };
  return makeRoute({ name: upstream, upstream: silent, freshness, maxPasses: 1, segments: 1 }, parseRepository(name));
}

/** Notices, and the facts of one kind as they come. */
export function recorded<K extends keyof MirrorNotices>(kind: K) {
  const notices = new Notices<MirrorNotices>();
  const facts: MirrorNotices[K][] = [];
  notices.on(kind, (fact) => facts.push(fact));
  return { notices, facts };
}
