/**
 * The upstreams of a configuration, each with our policy for it, and the routes to them.
 */
import type { Clock } from "./base/clock.ts";
import { Failure, isFailure } from "./base/failure.ts";
import type { Notices } from "./base/notices.ts";
import { itemText } from "./config/faults.ts";
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

/** What refuses us is neither asked with every request nor shut out for days, however long absences are believed. */
const MIN_REFUSED_MS = 1000;
const MAX_REFUSED_MS = 5 * 60_000;

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
  const faults: Failure[] = [];
  const routes: { upstream: Source; hosts: readonly string[]; repositories: Repositories }[] = [];
  for (const [name, settings] of upstreamsOf(config)) {
    const credentials = await openCredentials(name, settings, config.offline, surroundings, faults);
    held.push(...credentials.map(({ source }) => source));
    const limits = shareOf(settings.limits, share);
    const refusedMs = Math.min(Math.max(settings.freshness.notFound, MIN_REFUSED_MS), MAX_REFUSED_MS);
    const options = { ...settings, limits, credentials, refusedMs, offline: config.offline };
    const upstream = attempt(() => createUpstream(name, options, surroundings), faults);
    if (upstream === undefined) continue;
    // A process with a share of them has little else to do with it than to pass.
    const maxPasses = Math.max(1, Math.floor(limits.connections / (share < 1 ? 2 : 4)));
    // Further connections for one blob are taken from what other blobs need.
    const segments = Math.min(settings.segments, maxPasses);
    const source: Source = { name, upstream, freshness: settings.freshness, maxPasses, segments };
    routes.push({ upstream: source, hosts: settings.hosts, repositories: settings.repositories });
  }
  const all = routes.map(({ upstream }) => upstream);
  const close = async () => {
    await Promise.all([
      ...all.map(({ upstream }) => upstream.close()),
      ...held.map((source) => source.close?.() ?? Promise.resolve()),
    ]);
  };
  if (faults.length > 0) {
    await close();
    throw faultsTogether(faults);
  }
  return { all, routing: createRoutingTable(routes, config.defaultUpstream), close };
}

/** Whoever mends one thing should not learn of the next by another start. */
function faultsTogether(faults: readonly Failure[]): Failure {
  const [first] = faults;
  if (first !== undefined && faults.length === 1) return first;
  return new Failure("invalid", [`${faults.length} faults`, ...faults.map(({ message }) => `  ${message}`)].join("\n"));
}

function attempt<T>(work: () => T, faults: Failure[]): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!isFailure(error, "invalid")) throw error;
    faults.push(error);
    return undefined;
  }
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
  faults: Failure[],
): Promise<AccountOptions[]> {
  // Who contacts nobody needs no secrets.
  if (offline) return [];
  const onTrouble = (message: string) => notices.emit("upstreamTrouble", { upstream: name, message });
  const endpoint = attempt(() => parseEndpoint(name, url), []);
  // What is wrong with it is told by the upstream.
  if (endpoint === undefined) return [];
  const opened = await Promise.all(
    credentials.map(async (one, index) => {
      try {
        const source = await openCredential(one, { name, endpoint, clock, onTrouble });
        return [{ source, repositories: one.repositories }];
      } catch (error) {
        if (!isFailure(error, "invalid")) throw error;
        faults.push(new Failure("invalid", `${itemText(`upstreams.${name}.credentials`, index)}: ${error.message}`));
        return [];
      }
    }),
  );
  return opened.flat();
}

interface Repositories {
  readonly allow: readonly string[];
  readonly deny: readonly string[];
}
