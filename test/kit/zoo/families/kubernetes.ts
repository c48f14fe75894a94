/**
 * registry.k8s.io: a host that redirects everything, and holds nothing.
 *
 * - kubernetes/registry.k8s.io, cmd/archeio/internal/app/handlers.go: manifests, lists and referrers go by 307 to Artifact
 *   Registry below `k8s-artifacts-prod/images/`, blobs to a public bucket near by; nothing but `/v2/` is challenged;
 *   `rid` is added to the query. Artifact Registry wants no token for what is public: a comment there says so.
 * - A second host may want a token of its own: google/go-containerregistry#2333 and #2360 (a gateway in front of a
 *   registry); it is asked for without password, whatever the first host is sent.
 */
import { Shelves } from "../../shelves.ts";
import { moved, ociError, text } from "../answers.ts";
import { type Enclosure, type Family, stock, Turnstile } from "../enclosure.ts";
import { OPEN, Registry } from "../registry.ts";
import { PUBLIC, Storage } from "../storage.ts";
import { bearerGate, scopeAndError, TokenServer } from "../tokenserver.ts";
import type { Desk, Visit, VisitKind } from "../visit.ts";

const HOST = "registry.k8s.io";
const SECOND = "europe-west1-docker.pkg.dev";
const BUCKET = "prod-registry-k8s-io-eu-west-1.s3.dualstack.eu-west-1.amazonaws.com";
const BELOW = "k8s-artifacts-prod/images";

/** archeio. */
class Redirector implements Desk {
  readonly #shelves: Shelves;
  readonly #bucket: Storage;
  readonly #turnstile: Turnstile;

  constructor(shelves: Shelves, bucket: Storage, turnstile: Turnstile) {
    this.#shelves = shelves;
    this.#bucket = bucket;
    this.#turnstile = turnstile;
  }

  kindOf({ path }: Visit): VisitKind | undefined {
    if (path === "/v2/") return "ping";
    const what = /^\/v2\/.+\/(manifests|blobs|tags|referrers)\//.exec(path)?.[1];
    if (what === "manifests") return "manifest";
    if (what === "blobs") return "blob";
    return what === "tags" || what === "referrers" ? what : undefined;
  }

  owns(): boolean {
    return false;
  }

  answer(visit: Visit) {
    const { refusal } = this.#turnstile.pass();
    if (refusal !== undefined) return refusal;
    const [, name = "", digest = ""] = /^\/v2\/(.+)\/blobs\/([^/]+)$/.exec(visit.path) ?? [];
    const content = this.#shelves.find(`${BELOW}/${name}`)?.blobs.get(digest);
    const target =
      content === undefined
        ? `https://${SECOND}/v2/${BELOW}${visit.path.slice("/v2".length)}?rid=0af7651916cd43dd8448eb211c80319c`
        : this.#bucket.sign(visit.method, `/containers/images/${digest}`, content);
    return moved(307, target, { "x-request-id": "0af7651916cd43dd8448eb211c80319c" });
  }
}

function enclosure(second: "open" | "challenging"): Enclosure {
  const shelves = new Shelves();
  const names = { first: "kube-apiserver", second: "coredns/coredns", lone: "lone", absent: "absent" };
  const tokens = new TokenServer({
    host: SECOND,
    path: "/v2/token",
    service: null,
    mayPull: () => true,
    reply: (token) => ({ token, expires_in: 3600 }),
  });
  const bucket = new Storage({ host: BUCKET, flavour: PUBLIC });
  const turnstile = new Turnstile(text(429, "Rate exceeded.\n"));
  const gate =
    second === "open"
      ? OPEN
      : bearerGate({ tokens, challenge: (parts) => `Bearer realm="${parts.realm}"${scopeAndError(parts)}` });
  const registry = new Registry({
    shelves,
    gate,
    unknown: { manifest: (_name, reference) => ociError(404, "MANIFEST_UNKNOWN", `Failed to fetch "${reference}"`) },
  });
  const stocked = {
    first: `${BELOW}/${names.first}`,
    second: `${BELOW}/${names.second}`,
    lone: `${BELOW}/${names.lone}`,
  };
  return {
    upstream: HOST,
    houses: [
      { host: HOST, desks: [new Redirector(shelves, bucket, turnstile)] },
      { host: SECOND, desks: [tokens, registry] },
      { host: BUCKET, desks: [bucket] },
    ],
    names,
    stock: stock(shelves, stocked),
    challenges: second === "open" ? 0 : 1,
    tokens: { each: second === "open" ? 0 : 1 },
    hops: { manifest: 1, blob: 1 },
    referrers: true,
    ...(second === "open" ? {} : { expireTokens: () => tokens.expireAll() }),
    storage: bucket,
    exhaust: turnstile.close,
  };
}

export const kubernetes: Family = {
  name: "registry.k8s.io",
  variants: { anonymous: () => enclosure("open"), "second host challenges": () => enclosure("challenging") },
};
