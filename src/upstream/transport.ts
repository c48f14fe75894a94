/**
 * Connections to one upstream and to wherever it redirects.
 *
 * Two pools: manifests, lists and tokens never queue behind blobs. The small lane is undici's; blobs come by connections of
 * our own, which read straight into the memory of whoever stores them. Sockets of both are opened by `wire/dialing.ts`,
 * which judges addresses, and trust what `tlsfiles.ts` says. HTTP/1.1 only.
 */
import { Agent, type buildConnector } from "undici";
import type { Clock } from "../base/clock.ts";
import { type Flow, flowOf } from "../base/flow.ts";
import type { Network } from "./network.ts";
import type { Timeouts, UpstreamOptions } from "./options.ts";
import { TlsTrust } from "./tlsfiles.ts";
import { Dialing } from "./wire/dialing.ts";
import { WireFault } from "./wire/fault.ts";
import { Pool } from "./wire/pool.ts";

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
 * @throws Failure `invalid` where a TLS file cannot be read, or holds something else than it should.
 */
export function openTransport(
  name: string,
  endpoints: readonly URL[],
  options: UpstreamOptions,
  timeouts: Timeouts,
  clock: Clock,
  network: Network = {},
): Transport {
  const trust = new TlsTrust(name, endpoints, options);
  const { allowPrivate, limits } = options;
  const dialing = new Dialing({ allowPrivate, network, trustOf: (hostname) => trust.contextOf(hostname) });
  const small = new Agent({
    connect: connectorOf(dialing, timeouts, clock),
    connections: limits.connections,
    allowH2: false,
    headersTimeout: timeouts.headersMs,
    bodyTimeout: timeouts.bodyMs,
    keepAliveTimeout: 15_000,
  });
  const blobs = new Pool({ dialing, timeouts, clock, connections: limits.connections });
  return {
    async request(url, { method, headers, lane, signal, body }) {
      if (lane === "blob" && method !== "POST") return await blobs.request(url, { method, headers, signal });
      const answer = await small.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { ...headers },
        body: body ?? null,
        signal,
        // undici would close the connection after each HEAD, and HEAD is how freshness is asked.
        reset: false,
      });
      return { status: answer.statusCode, headers: answer.headers, body: flowOf(answer.body) };
    },
    async close() {
      await Promise.all([small.destroy(), blobs.close()]);
    },
  };
}

function connectorOf(dialing: Dialing, timeouts: Timeouts, clock: Clock): buildConnector.connector {
  return (target, callback) => {
    void (async () => {
      const { socket, ready } = dialing.start(new URL(`${target.protocol}//${target.host ?? target.hostname}`));
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const late = () => socket.destroy(new WireFault("WIRE_CONNECT_TIMEOUT", "no connection in time"));
      const cancel = clock.after(timeouts.connectMs, late);
      socket.once(ready, () => resolve());
      socket.on("error", reject);
      try {
        await promise;
        return socket;
      } finally {
        cancel();
      }
    })().then(
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
