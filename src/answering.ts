/**
 * What answers clients: the same in the one process of a mirror and in each of many, whatever is behind the door.
 */
import type { Notices } from "./base/notices.ts";
import { type Config, servesTls } from "./config/schema.ts";
import { FastPath } from "./http/fastpath.ts";
import { openKernelCopy } from "./http/kernelcopy.ts";
import { DEFAULT_LIMITS, Listener, type ListenerLimits } from "./http/listener.ts";
import { createRegistryApi } from "./http/registry.ts";
import { Sending } from "./http/send.ts";
import { Certificates } from "./http/tls.ts";
import { type BlobParts, Blobs } from "./mirror/blobs.ts";
import { type ListingParts, Listings } from "./mirror/listings.ts";
import { type ManifestParts, Manifests } from "./mirror/manifests.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import type { Sources } from "./sources.ts";

export interface AnsweringParts
  extends Omit<ManifestParts, "offline">,
    BlobParts,
    Omit<ListingParts, "manifests" | "tags" | "offline" | "isServed"> {
  readonly tags: ManifestParts["tags"] & ListingParts["tags"];
  readonly graph: ManifestParts["graph"] & BlobParts["graph"];
  readonly inventory: ManifestParts["inventory"] & BlobParts["inventory"] & ListingParts["inventory"];
  readonly shelf: ManifestParts["shelf"] & ListingParts["shelf"];
  readonly notices: Notices<MirrorNotices>;
  readonly routing: Sources["routing"];
  readonly signature: string;
  /** The same in every process that answers. */
  readonly ticketSecret: string;
  readonly limits: Partial<ListenerLimits> | undefined;
}

/** The registry API, not listening yet. */
export async function openAnswering(config: Config, parts: AnsweringParts): Promise<Listener> {
  const { clock, notices, routing, signature, ticketSecret, limits } = parts;
  const manifests = new Manifests({ ...parts, offline: config.offline });
  const blobs = new Blobs(parts);
  const isServed = (upstream: string) => routing.find(upstream)?.name === upstream;
  const listings = new Listings({ ...parts, manifests, offline: config.offline, isServed });
  const sending = new Sending(config.sendfile ? await openKernelCopy() : undefined);
  const api = createRegistryApi({ manifests, blobs, listings, routing, notices, sending, signature });
  const all = { ...DEFAULT_LIMITS, ...limits };
  const front = servesTls(config.tls)
    ? await Certificates.open({ ...tlsSettings(config.tls), ticketSecret }, { clock, notices })
    : new FastPath({ manifests, routing, notices, keepAliveMs: all.keepAliveMs });
  return new Listener(api, all, front);
}

function tlsSettings({ cert, key, certificates, clientCa, clientAuth }: Config["tls"]) {
  const pairs = [{ cert, key }, ...certificates].flatMap((pair) =>
    pair.cert === undefined || pair.key === undefined ? [] : [{ cert: pair.cert, key: pair.key }],
  );
  return { certificates: pairs, clientCa, clientAuth: clientAuth ?? "required" };
}
