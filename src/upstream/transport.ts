/**
 * Connections to one upstream and to wherever it redirects.
 *
 * Two pools: manifests, lists and tokens never queue behind blobs. The small lane is undici's; blobs come by connections of
 * our own, which read straight into the memory of whoever stores them. Every connection passes the address check, and
 * trusts what `tlsfiles.ts` says. HTTP/1.1 only.
 */
import { Agent, buildConnector } from "undici";
import type { Clock } from "../base/clock.ts";
import { type Flow, flowOf } from "../base/flow.ts";
import { checkedLookup, refusalOfLiteral } from "./addresses.ts";
import type { Timeouts, UpstreamOptions } from "./options.ts";
import { TlsTrust } from "./tlsfiles.ts";
import { Dialing } from "./wire/dialing.ts";
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
  readonly method: Method;
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

/** @throws Failure `invalid` where a TLS file cannot be read, or holds something else than it should. */
export function openTransport(
  name: string,
  endpoint: URL,
  options: UpstreamOptions,
  timeouts: Timeouts,
  clock: Clock,
): Transport {
  const trust = new TlsTrust(name, endpoint, options);
  const { allowPrivate } = options;
  const small = openAgent(trust, options, timeouts);
  const blobs = new Pool({
    dialing: new Dialing({ allowPrivate, trustOf: (hostname) => trust.contextOf(hostname) }),
    timeouts,
    clock,
    connections: options.limits.connections,
  });
  return {
    async request(url, { method, headers, lane, signal }) {
      if (lane === "blob") return await blobs.request(url, { method, headers, signal });
      const answer = await small.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { ...headers },
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

function openAgent(trust: TlsTrust, { allowPrivate, limits }: UpstreamOptions, timeouts: Timeouts): Agent {
  const shared = { allowH2: false, timeout: timeouts.connectMs, lookup: checkedLookup(allowPrivate) };
  const elsewhere = buildConnector({ ...shared, ...trust.elsewhere });
  const ownHost = buildConnector({ ...shared, ...trust.ownHost });
  const connect: buildConnector.connector = (target, callback) => {
    const refusal = refusalOfLiteral(target.hostname, allowPrivate);
    if (refusal !== undefined) {
      process.nextTick(callback, refusal, null);
      return;
    }
    (trust.isOwn(target.hostname) ? ownHost : elsewhere)(target, callback);
  };
  return new Agent({
    connect,
    connections: limits.connections,
    allowH2: false,
    headersTimeout: timeouts.headersMs,
    bodyTimeout: timeouts.bodyMs,
    keepAliveTimeout: 15_000,
  });
}

/** The only value of a header, or the first. */
export function headerOf(answer: Pick<Answer, "headers">, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? value : value?.[0];
}
