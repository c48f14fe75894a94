/**
 * The upstreams of a configuration, each with our policy for it, and the routes to them.
 */
import type { Clock } from "./base/clock.ts";
import type { Notices } from "./base/notices.ts";
import { type Config, type UpstreamConfig, upstreamsOf } from "./config/schema.ts";
import type { MirrorNotices } from "./mirror/notices.ts";
import type { Source } from "./mirror/route.ts";
import { createUpstream } from "./upstream/client.ts";
import type { CredentialSource } from "./upstream/credentials/credential.ts";
import { openCredential } from "./upstream/credentials/open.ts";
import { parseEndpoint } from "./upstream/endpoints/endpoint.ts";
import type { Network } from "./upstream/network/network.ts";
import type { AccountOptions, Limits } from "./upstream/options.ts";
import { createRoutingTable, type RoutingTable } from "./upstream/registries/routing.ts";

export interface Surroundings {
  readonly notices: Notices<MirrorNotices>;
  readonly clock: Clock;
  /** How this mirror, with all its processes, signs its requests. */
  readonly signature: string;
  readonly network?: Network | undefined;
}

export interface Sources {
  readonly all: readonly Source[];
  readonly routing: RoutingTable<Source>;
  /** Ends their connections, and what their credentials have running. */
  close(): Promise<void>;
}

/**
 * @param share of an upstream's limits, where several processes ask it.
 * @throws Failure `invalid`: a credential or certificate that cannot be read.
 */
export async function openSources(config: Config, surroundings: Surroundings, share = 1): Promise<Sources> {
  const held: CredentialSource[] = [];
  const routes: { upstream: Source; hosts: readonly string[]; repositories: Repositories }[] = [];
  for (const [name, settings] of upstreamsOf(config)) {
    const credentials = await openCredentials(name, settings, config.offline, surroundings);
    held.push(...credentials.map(({ source }) => source));
    const limits = shareOf(settings.limits, share);
    const refusedMs = settings.freshness.notFound;
    const options = { ...settings, limits, credentials, refusedMs, offline: config.offline };
    const upstream = createUpstream(name, options, surroundings);
    // A process with a share of them has little else to do with it than to pass.
    const maxPasses = Math.max(1, Math.floor(limits.connections / (share < 1 ? 2 : 4)));
    // Further connections for one blob are taken from what other blobs need.
    const segments = Math.min(settings.segments, maxPasses);
    const source: Source = { name, upstream, freshness: settings.freshness, maxPasses, segments };
    routes.push({ upstream: source, hosts: settings.hosts, repositories: settings.repositories });
  }
  const all = routes.map(({ upstream }) => upstream);
  return {
    all,
    routing: createRoutingTable(routes, config.defaultUpstream),
    async close() {
      await Promise.all([
        ...all.map(({ upstream }) => upstream.close()),
        ...held.map((source) => source.close?.() ?? Promise.resolve()),
      ]);
    },
  };
}

function shareOf(limits: Limits, share: number): Limits {
  const { connections, requestsPerSecond, bandwidth } = limits;
  return {
    connections: Math.max(1, Math.floor(connections * share)),
    requestsPerSecond: typeof requestsPerSecond === "number" ? requestsPerSecond * share : null,
    bandwidth: typeof bandwidth === "number" ? bandwidth * share : null,
  };
}

async function openCredentials(
  name: string,
  { url, credentials }: UpstreamConfig,
  offline: boolean,
  { clock, notices }: Surroundings,
): Promise<AccountOptions[]> {
  // Who contacts nobody needs no secrets.
  if (offline) return [];
  const onTrouble = (message: string) => notices.emit("upstreamTrouble", { upstream: name, message });
  const endpoint = parseEndpoint(name, url);
  return await Promise.all(
    credentials.map(async (one) => ({
      source: await openCredential(one, { name, endpoint, clock, onTrouble }),
      repositories: one.repositories,
    })),
  );
}

interface Repositories {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}
