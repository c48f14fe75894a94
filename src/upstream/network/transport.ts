/**
 * Connections to one upstream and to wherever it redirects.
 *
 * Two pools: manifests, lists and tokens never queue behind blobs. The small lane is undici's; blobs come by connections of
 * our own, which read straight into the memory of whoever stores them. Sockets of both are opened by `wire/dialing.ts`,
 * which judges addresses, and trust what `tlsfiles.ts` says. HTTP/1.1 only.
 */
import { Agent, type buildConnector } from "undici";
import type { Clock } from "../../base/clock.ts";
import { type Flow, flowOf } from "../../base/flow.ts";
import type { Timeouts, UpstreamOptions } from "../options.ts";
import { findKnownAt } from "../registries/known.ts";
import { Dialing } from "../wire/dialing.ts";
import { MAX_AGE_MS, Pool } from "../wire/pool.ts";
import { refusedByProxy } from "../wire/tunnel.ts";
import { bare } from "./addresses.ts";
import type { Network } from "./network.ts";
import { Proxies } from "./proxies.ts";
import { TlsTrust } from "./tlsfiles.ts";

export type Lane = "small" | "blob";
export type Method = "GET" | "HEAD";

export interface Answer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** To be read to its end or destroyed. */
  readonly body: Flow;
}

export interface TransportRequest {
  readonly method: Method | "POST";
  /** Of a POST. */
  readonly body?: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly lane: Lane;
  /** Governs the body as well. */
  readonly signal: AbortSignal;
}

export interface Transport {
  /** One exchange, redirects not followed. Rejects with whatever the connection failed with. */
  request(url: URL, request: TransportRequest): Promise<Answer>;
  /** Ends all connections; running requests fail. */
  close(): Promise<void>;
}

/**
 * @param endpoints where the upstream's API is: hosts of its own.
 * @param onTrouble is told of TLS files that were replaced and cannot be used.
 * @throws Failure `invalid` where a TLS file cannot be read, or holds something else than it should, and where a
 * variable names no proxy.
 */
export function openTransport(
  name: string,
  endpoints: readonly URL[],
  options: UpstreamOptions,
  timeouts: Timeouts,
  clock: Clock,
  network: Network = {},
  onTrouble: (message: string) => void = () => {},
): Transport {
  const trust = new TlsTrust(name, endpoints, options, clock, onTrouble);
  const proxies = new Proxies(network.env ?? process.env);
  const { allowPrivate, limits } = options;
  const { connectMs } = timeouts;
  const trustOf = (hostname: string) => trust.contextOf(hostname);
  const own = ownHosts(endpoints, options.tokenRealm);
  const isOwn = (hostname: string) => own.has(hostname);
  const dialing = new Dialing({ name, allowPrivate, network, proxies, clock, connectMs, isOwn, trustOf });
  const small = new Agent({
    connect: connectorOf(dialing),
    connections: limits.connections,
    allowH2: false,
    headersTimeout: timeouts.headersMs,
    bodyTimeout: timeouts.bodyMs,
    keepAliveTimeout: 15_000,
    clientTtl: MAX_AGE_MS,
  });
  const blobs = new Pool({ dialing, timeouts, clock, connections: limits.connections });

  async function ask(url: URL, target: string, request: TransportRequest): Promise<Answer> {
    const { method, headers, lane, signal, body } = request;
    if (lane === "blob" && method !== "POST") return await blobs.request(url, { method, target, headers, signal });
    const answer = await small.request({
      origin: url.origin,
      path: target,
      method,
      headers: { ...headers },
      body: body ?? null,
      signal,
      // undici would close the connection after each HEAD, and HEAD is how freshness is asked.
      reset: false,
    });
    return { status: answer.statusCode, headers: answer.headers, body: flowOf(answer.body) };
  }

  return {
    async request(url, request) {
      const path = `${url.pathname}${url.search}`;
      const proxy = url.protocol === "http:" ? proxies.find(url) : undefined;
      if (proxy === undefined) return await ask(url, path, request);
      const proof = proxy.authorization === undefined ? {} : { "proxy-authorization": proxy.authorization };
      const answer = await ask(url, `${url.origin}${path}`, { ...request, headers: { ...request.headers, ...proof } });
      if (answer.status !== 407) return answer;
      answer.body.destroy();
      throw refusedByProxy(name, proxy, url.host, answer);
    },
    async close() {
      await Promise.all([small.destroy(), blobs.close(), dialing.close()]);
    },
  };
}

/** Those that no answer of the upstream's names. */
function ownHosts(endpoints: readonly URL[], tokenRealm: string | null): ReadonlySet<string> {
  const realm = tokenRealm === null ? null : URL.parse(tokenRealm);
  const known = endpoints.flatMap((endpoint) => findKnownAt(endpoint)?.realmHosts ?? []);
  return new Set(
    [...endpoints, ...(realm === null ? [] : [realm])].map(({ hostname }) => bare(hostname)).concat(known),
  );
}

function connectorOf(dialing: Dialing): buildConnector.connector {
  return ({ protocol, host, hostname }, callback) => {
    dialing.start(new URL(`${protocol}//${host ?? hostname}`)).opened.then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    );
  };
}

/** The only value of a header, or the first. */
export function headerOf(answer: Pick<Answer, "headers">, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? value : value?.[0];
}
