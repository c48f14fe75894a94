/**
 * Pulls as containerd does them, and what each costs a family's hosts.
 */
import assert from "node:assert/strict";
import { digestOf } from "../../../src/oci/digest.ts";
import { type Answer, get } from "../http.ts";
import type { TestIndex } from "../image.ts";
import { TestMirror, type TestMirrorOptions } from "../mirror.ts";
import { type Enclosure, TAG } from "./enclosure.ts";
import type { Account } from "./visit.ts";
import type { RecordedVisit, Zoo } from "./zoo.ts";

/** Requests of one pull. A redirect's target counts as a hop and as nothing else, a 401 of a registry as a challenge. */
export interface Cost {
  manifestHeads: number;
  manifestGets: number;
  blobGets: number;
  tokens: number;
  challenges: number;
  hops: number;
  other: number;
}

export function costOf(visits: readonly RecordedVisit[]): Cost {
  const cost: Cost = { manifestHeads: 0, manifestGets: 0, blobGets: 0, tokens: 0, challenges: 0, hops: 0, other: 0 };
  for (const { kind, method, hop, status } of visits) {
    if (kind === "token") cost.tokens += 1;
    else if (status === 401) cost.challenges += 1;
    else if (hop) cost.hops += 1;
    else if (kind === "manifest" && method === "HEAD") cost.manifestHeads += 1;
    else if (kind === "manifest") cost.manifestGets += 1;
    else if (kind === "blob" && method === "GET") cost.blobGets += 1;
    else cost.other += 1;
  }
  return cost;
}

/** What a pull of an index, one of its manifests, and its four blobs may cost. */
export function expectedCost(enclosure: Enclosure, which: "first" | "second"): Cost {
  const { challenges, tokens, hops } = enclosure;
  const once = which === "first";
  return {
    manifestHeads: 1,
    manifestGets: 2,
    blobGets: 4,
    tokens: "each" in tokens ? tokens.each : once ? tokens.all : 0,
    challenges: once ? challenges : 0,
    hops: 3 * hops.manifest + 4 * hops.blob,
    other: 0,
  };
}

/** A mirror of these registries, which are reached under their own names by the zoo's network. */
export function mirrorOf(
  zoo: Zoo,
  enclosures: readonly Enclosure[],
  { account, ...options }: Partial<TestMirrorOptions> & { readonly account?: Account | undefined } = {},
): Promise<TestMirror> {
  const settingsOf = ({ settings, account: own, credentials }: Enclosure) => {
    const shown = account ?? own;
    return {
      ...{ url: undefined, allowPrivate: false },
      credentials: credentials ?? (shown === undefined ? [] : [shown]),
      ...settings,
    };
  };
  return TestMirror.start({
    upstreams: Object.fromEntries(enclosures.map(({ upstream }) => [upstream, `https://${upstream}`])),
    each: Object.fromEntries(enclosures.map((enclosure) => [enclosure.upstream, settingsOf(enclosure)])),
    network: zoo.network,
    ...options,
  });
}

/** HEAD of the tag, then all else by digest, the blobs at once. @throws where anything is not as it was stocked. */
export async function pull(mirror: TestMirror, name: string, index: TestIndex): Promise<void> {
  const below = `${mirror.url}/v2/${name}`;
  const head = await get(`${below}/manifests/${TAG}`, { method: "HEAD" });
  assert.equal(head.status, 200, `HEAD of the tag: ${told(head)}`);
  assert.equal(head.headers["docker-content-digest"], index.digest);
  assert.equal(head.headers["content-type"], index.mediaType);
  assert.equal(head.headers["content-length"], String(index.manifest.length));
  await fetchWhole(`${below}/manifests/${index.digest}`, index.digest);
  const [image] = index.images;
  assert.ok(image);
  await fetchWhole(`${below}/manifests/${image.digest}`, image.digest);
  await Promise.all(
    [image.config, ...image.layers].map(({ digest }) => fetchWhole(`${below}/blobs/${digest}`, digest)),
  );
}

async function fetchWhole(url: string, digest: string): Promise<void> {
  const answer = await get(url);
  assert.equal(answer.status, 200, `${url}: ${told(answer)}`);
  assert.equal(digestOf(answer.body), digest);
}

function told({ status, body, error }: Answer): string {
  return `${status} ${error?.message ?? ""}${body.subarray(0, 500)}`;
}

/** What was asked since the last call. */
export function takeVisits(zoo: Zoo): RecordedVisit[] {
  return zoo.visits.splice(0);
}
