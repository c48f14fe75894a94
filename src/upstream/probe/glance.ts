/**
 * A look at where an endpoint is before anything is asked of it: the addresses of its name, and the certificate it shows.
 *
 * The certificate is looked at whether it is trusted or not; nothing is ever sent over that connection.
 */
import { lookup } from "node:dns";
import { isIP, type Socket } from "node:net";
import { type PeerCertificate, TLSSocket } from "node:tls";
import type { Clock } from "../../base/clock.ts";
import { type AddressVerdict, bare, judgeAddress } from "../network/addresses.ts";
import type { Network } from "../network/network.ts";
import { Proxies } from "../network/proxies.ts";
import { TlsTrust } from "../network/tlsfiles.ts";
import type { UpstreamOptions } from "../options.ts";
import { Dialing } from "../wire/dialing.ts";

const MAX_ADDRESSES = 16;
const MAX_NAME = 120;

export interface SeenAddress {
  readonly address: string;
  readonly verdict: AddressVerdict;
}

export interface SeenCertificate {
  readonly subject: string;
  readonly issuer: string;
  /** ISO 8601. */
  readonly validUntil: string;
  readonly daysLeft: number;
  /** By the authorities of this machine and those that are configured. */
  readonly trusted: boolean;
  /** OpenSSL's name for what is wrong with it. */
  readonly fault: string | undefined;
}

/** Empty where the name does not resolve, which the question itself will tell. */
export async function lookAtAddresses(
  endpoint: URL,
  resolve: Network["resolve"] = lookup,
): Promise<readonly SeenAddress[]> {
  const host = bare(endpoint.hostname);
  if (isIP(host) !== 0) return [{ address: host, verdict: judgeAddress(host) }];
  try {
    const found = await new Promise<readonly { readonly address: string }[]>((done, fail) => {
      resolve(host, { all: true }, (error, addresses) => (error === null ? done(addresses) : fail(error)));
    });
    return found.slice(0, MAX_ADDRESSES).map(({ address }) => ({ address, verdict: judgeAddress(address) }));
  } catch {
    return [];
  }
}

export interface GlanceOptions {
  /** The upstream's name. */
  readonly name: string;
  readonly upstream: UpstreamOptions;
  readonly network: Network;
  readonly clock: Clock;
  readonly timeoutMs: number;
}

/** Undefined where there is none to be seen: no connection, no TLS. @throws Failure `invalid` for an unreadable TLS file. */
export async function lookAtCertificate(endpoint: URL, options: GlanceOptions): Promise<SeenCertificate | undefined> {
  const { name, upstream, network, clock, timeoutMs } = options;
  const trust = new TlsTrust(name, [endpoint], upstream, clock, () => {});
  const dialing = new Dialing({
    isOwn: () => true,
    name,
    allowPrivate: upstream.allowPrivate,
    network,
    proxies: new Proxies(network.env ?? process.env),
    clock,
    connectMs: timeoutMs,
    trustOf: (hostname) => ({ ...trust.contextOf(hostname), rejectUnauthorized: false }),
  });
  let socket: Socket | undefined;
  try {
    socket = await dialing.start(endpoint).opened;
    return socket instanceof TLSSocket ? describe(socket, clock.now()) : undefined;
  } catch {
    return undefined;
  } finally {
    socket?.destroy();
    await dialing.close();
  }
}

function describe(socket: TLSSocket, now: number): SeenCertificate | undefined {
  const shown = socket.getPeerCertificate();
  const until = Date.parse(shown.valid_to);
  if (Number.isNaN(until)) return undefined;
  const fault: unknown = socket.authorizationError;
  return {
    subject: nameOf(shown.subject),
    issuer: nameOf(shown.issuer),
    validUntil: new Date(until).toISOString(),
    daysLeft: Math.floor((until - now) / 86_400_000),
    trusted: socket.authorized,
    fault: socket.authorized ? undefined : fault instanceof Error ? codeOf(fault) : String(fault),
  };
}

function codeOf(error: Error): string {
  return "code" in error ? String(error.code) : error.message;
}

function nameOf(name: PeerCertificate["subject"] | undefined): string {
  const parts: readonly unknown[] = [name?.CN, name?.O].flat();
  const text = parts.find((part) => typeof part === "string" && part !== "");
  return String(text ?? "?")
    .replace(/[^\x20-\x7e]/g, "?")
    .slice(0, MAX_NAME);
}
