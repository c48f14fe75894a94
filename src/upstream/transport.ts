/**
 * Connections to one upstream and to wherever it redirects.
 *
 * Two pools: manifests, lists and tokens never queue behind blobs. Every connection passes the address check. A custom
 * authority is trusted besides the known ones and everywhere; our client certificate and the waived verification
 * belong to the upstream's own host only. HTTP/1.1 only.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { createSecureContext, getCACertificates } from "node:tls";
import { Agent, buildConnector } from "undici";
import { Failure, messageOf } from "../base/failure.ts";
import { checkedLookup, refusalOfLiteral } from "./addresses.ts";
import type { Timeouts, UpstreamOptions } from "./options.ts";

export type Lane = "small" | "blob";
export type Method = "GET" | "HEAD";

export interface Answer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** To be read to its end or destroyed; with an `error` listener. */
  readonly body: Readable;
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
export function openTransport(name: string, endpoint: URL, options: UpstreamOptions, timeouts: Timeouts): Transport {
  const { insecureSkipVerify } = options.tls;
  const { ca, cert, key } = readTlsFiles(`upstreams.${name}.tls`, options.tls);
  const shared = {
    allowH2: false,
    timeout: timeouts.connectMs,
    lookup: checkedLookup(options.allowPrivate),
    ...(ca === undefined ? {} : { ca: [...getCACertificates("default"), ca] }),
  };
  const elsewhere = buildConnector(shared);
  const ownHost = buildConnector({
    ...shared,
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(insecureSkipVerify ? { rejectUnauthorized: false } : {}),
  });
  const ownHosts = new Set([bare(endpoint.hostname)]);
  const realmHost = options.tokenRealm === null ? undefined : URL.parse(options.tokenRealm)?.hostname;
  if (realmHost !== undefined) ownHosts.add(bare(realmHost));

  const connect: buildConnector.connector = (target, callback) => {
    const refusal = refusalOfLiteral(target.hostname, options.allowPrivate);
    if (refusal !== undefined) {
      process.nextTick(callback, refusal, null);
      return;
    }
    (ownHosts.has(bare(target.hostname)) ? ownHost : elsewhere)(target, callback);
  };
  const openAgent = () =>
    new Agent({
      connect,
      connections: options.limits.connections,
      allowH2: false,
      headersTimeout: timeouts.headersMs,
      bodyTimeout: timeouts.bodyMs,
      keepAliveTimeout: 15_000,
    });
  const agents: Readonly<Record<Lane, Agent>> = { small: openAgent(), blob: openAgent() };

  return {
    async request(url, { method, headers, lane, signal }) {
      const answer = await agents[lane].request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { ...headers },
        signal,
        // undici would close the connection after each HEAD, and HEAD is how freshness is asked.
        reset: false,
      });
      // A body that nobody reads any more may still fail.
      answer.body.on("error", () => {});
      return { status: answer.statusCode, headers: answer.headers, body: answer.body };
    },
    async close() {
      await Promise.all([agents.small.destroy(), agents.blob.destroy()]);
    },
  };
}

/** Without the brackets of an IPv6 address: a URL has them, a socket has not. */
function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

/** The files' contents, tried out now: a connection would tell of a bad one late, and not which it is. */
function readTlsFiles(setting: string, tls: UpstreamOptions["tls"]): { ca?: string; cert?: string; key?: string } {
  const [ca, cert, key] = (["ca", "cert", "key"] as const).map((which) => {
    const path = tls[which];
    return path === undefined ? undefined : readPem(`${setting}.${which}`, path);
  });
  if (ca !== undefined) refuseBad(`${setting}.ca: ${tls.ca} is no certificate in PEM`, () => new X509Certificate(ca));
  if (cert !== undefined) {
    refuseBad(`${setting}.cert: ${tls.cert} is no certificate in PEM`, () => new X509Certificate(cert));
  }
  if (key !== undefined) {
    const message = `${setting}.key: ${tls.key} is no private key in PEM that can be used with ${tls.cert ?? "it"}`;
    refuseBad(message, () => createSecureContext({ key, ...(cert === undefined ? {} : { cert }) }));
  }
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function refuseBad(message: string, tryOut: () => unknown): void {
  try {
    tryOut();
  } catch (cause) {
    throw new Failure("invalid", message, { cause });
  }
}

function readPem(setting: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Failure("invalid", `${setting}: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}

/** The only value of a header, or the first. */
export function headerOf(answer: Pick<Answer, "headers">, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? value : value?.[0];
}
