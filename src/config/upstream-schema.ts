/**
 * What can be said about one upstream; the key it stands under is the registry's name in image references.
 *
 * Checks that span several keys run even where single keys are faulty, so that one start names every fault.
 */
import * as z from "zod";
import { credential } from "./credential.ts";
import {
  count,
  duration,
  file,
  hostList,
  httpUrl,
  httpUrlList,
  keyDocs,
  optionalSize,
  optionalSizeLimit,
  patternList,
  rate,
  section,
  yesNo,
} from "./fields.ts";

/** A check that spans keys runs whatever their own checks said. */
export const ALWAYS = { when: () => true };

const tls = section("How the upstream's certificate is checked, and ours if it asks for one.", {
  ca: file("PEM file of authorities to trust besides the well-known ones.", "ca.pem"),
  cert: file("PEM file of our client certificate; needs key.", "client.pem"),
  key: file("PEM file of our client certificate's private key.", "client-key.pem"),
  insecureSkipVerify: yesNo("Accept any certificate. Whoever is between can then read credentials.", false),
}).superRefine((value, context) => {
  const given = asRecord(value);
  const hasCert = (given.cert ?? null) !== null;
  if (hasCert === ((given.key ?? null) !== null)) return;
  const [present, missing] = hasCert ? ["cert", "key"] : ["key", "cert"];
  context.addIssue({ code: "custom", path: [present], message: `cert and key go together; ${missing} is missing` });
}, ALWAYS);

const freshness = section("How long tags may be answered from the cache. Digests never go stale.", {
  tags: duration("A tag younger than this is served without asking.", "5m"),
  staleWhileRevalidate: duration("Older than that but younger than this: served, refreshed behind.", "1h"),
  staleIfError: duration("Upstream failing or limited: served up to this age.", "30d"),
  notFound: duration('For how long "there is no such thing" is remembered.', "10s"),
}).superRefine((value, context) => {
  const { tags, staleWhileRevalidate, staleIfError } = asRecord(value);
  const order = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
  if (isGreater(tags, staleWhileRevalidate)) order("staleWhileRevalidate", "must not be shorter than freshness.tags");
  if (isGreater(staleWhileRevalidate, staleIfError)) {
    order("staleIfError", "must not be shorter than freshness.staleWhileRevalidate");
  }
}, ALWAYS);

const credentials = z
  .array(credential, { error: "expected a list of credentials; none = anonymous" })
  .max(100)
  .default([])
  .register(keyDocs, {
    doc: "Who we are to the upstream, one form for each; several are a pool; none = anonymous.",
    default: [],
  });

const apiUrlDoc = { doc: "Where its API is; default https://<key>.", default: null, example: "https://10.0.0.5:5000" };
const apiUrl = httpUrl(apiUrlDoc.doc, apiUrlDoc.example)
  .transform((url) => url ?? undefined)
  .register(keyDocs, apiUrlDoc);

export const upstream = section("A registry to pull from.", {
  url: apiUrl,
  endpoints: httpUrlList(
    "More URLs of the same content, asked in this order where url does not answer; on other sites without credentials.",
    ["https://10.0.0.6:5000"],
  ),
  hosts: hostList("Host header values that select this upstream.", ["mirror.example.com"]),
  allowPrivate: yesNo("May resolve to loopback, private and link-local addresses.", false),
  tls,
  credentials,
  tokenRealm: httpUrl(
    "Token server, where it is neither known nor on the same registrable domain.",
    "https://auth.example.com/token",
  ),
  freshness,
  limits: section(
    "What we ask of the upstream at most. With workers, those that answer clients share as much again, for what passes unstored.",
    {
      connections: count("Connections to the upstream at a time, of each kind (documents, blobs).", 64, 1024),
      requestsPerSecond: rate("Requests to the upstream per second; null = no limit.", 10, 100_000),
      bandwidth: optionalSize("Bytes from the upstream per second, all downloads together; null = no limit.", "20MiB"),
    },
  ),
  maxSize: optionalSizeLimit(
    'What may be stored of it: bytes, or a share of cache.maxSize such as "20%"; null = all of the cache.',
    "20%",
  ),
  segments: count(
    "Connections one large blob is fetched by, where one is slower than several; 1 = one request.",
    4,
    16,
  ),
  repositories: section("What may be pulled through; what deny names is refused even where allow names it.", {
    allow: patternList("Repositories that may be pulled.", ["**"], ["**"]),
    deny: patternList("Repositories that may not.", [], ["internal/**"]),
  }),
});

export type UpstreamConfig = z.output<typeof upstream>;

/** The keys of what may be any value, for checks that run on faulty input too. */
export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};
}

function isGreater(left: unknown, right: unknown): boolean {
  return typeof left === "number" && typeof right === "number" && left > right;
}
