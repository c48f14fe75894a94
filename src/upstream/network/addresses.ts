/**
 * Where a connection may go: every address is judged after it is resolved and before it is connected to, and the
 * judged address is the one connected to, so that a name cannot answer differently the second time (DNS rebinding).
 *
 * Private networks are opened per upstream by `allowPrivate`. What no registry ever lives on — cloud metadata,
 * multicast, the unspecified address — stays closed even then.
 */
import { ADDRCONFIG, type LookupAddress, type LookupOptions, lookup as systemLookup } from "node:dns";
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

export type AddressVerdict = "public" | "private" | "forbidden";

/** Metadata services of the large clouds, which hand credentials to whoever asks. */
const METADATA = new Set([
  "169.254.169.254",
  "169.254.170.2",
  "169.254.170.23",
  // Scaleway, Tencent, OpenStack.
  "169.254.42.42",
  "169.254.0.23",
  "fd00:42::42",
  "fe80::a9fe:a9fe",
  "fd00:ec2::254",
  "fd00:ec2::23",
  "100.100.100.200",
  "168.63.129.16",
  "fd20:ce::254",
]);
/** All that is ever given out for the open network (RFC 4291 §2.4, IANA). */
const GLOBAL_V6 = ipaddr.IPv6.parseCIDR("2000::/3");
const NAT64 = ipaddr.IPv6.parseCIDR("64:ff9b::/96");
/** Where an IPv4 address may stand besides at the end: 6to4 (RFC 3056 §2), NAT64 within a site (RFC 8215, RFC 6052 §2.2). */
const CARRIERS: readonly { readonly range: [ipaddr.IPv6, number]; readonly places: readonly number[][] }[] = [
  { range: ipaddr.IPv6.parseCIDR("2002::/16"), places: [[2, 3, 4, 5]] },
  {
    range: ipaddr.IPv6.parseCIDR("64:ff9b:1::/48"),
    places: [
      [6, 7, 9, 10],
      [7, 9, 10, 11],
      [9, 10, 11, 12],
      [12, 13, 14, 15],
    ],
  },
  // Translated by SIIT (RFC 2765 §2.1).
  { range: ipaddr.IPv6.parseCIDR("::ffff:0:0:0/96"), places: [[12, 13, 14, 15]] },
];
const COMPATIBLE = ipaddr.IPv6.parseCIDR("::/96");

const NEVER = new Set(["unspecified", "broadcast", "multicast"]);

/** Judges an IP address in text form; what is none is forbidden. */
export function judgeAddress(text: string): AddressVerdict {
  if (!ipaddr.isValid(text)) return "forbidden";
  const address = ipaddr.parse(text);
  const range: string = address.range();
  if (address instanceof ipaddr.IPv6) {
    const embedded = embeddedIPv4(address, range);
    if (embedded !== undefined) return embedded;
    if (leadsToMetadata(address)) return "forbidden";
  }
  if (METADATA.has(address.toString().replace(/%.*$/, "")) || NEVER.has(range)) return "forbidden";
  if (address instanceof ipaddr.IPv6 && !address.match(GLOBAL_V6)) return "private";
  return range === "unicast" ? "public" : "private";
}

/**
 * NAT64 (RFC 6052) is how a network without IPv4 reaches it, so `64:ff9b::/96` counts as the address behind it. No name
 * resolves to a mapped or compatible address honestly: those are never public, and forbidden where the address behind is.
 */
function embeddedIPv4(address: ipaddr.IPv6, range: string): AddressVerdict | undefined {
  const compatible = address.match(COMPATIBLE) && range !== "unspecified" && range !== "loopback";
  const mapped = range === "ipv4Mapped" || compatible;
  if (!mapped && !address.match(NAT64)) return undefined;
  const verdict = judgeAddress(address.toByteArray().slice(12).join("."));
  return mapped && verdict === "public" ? "private" : verdict;
}

function leadsToMetadata(address: ipaddr.IPv6): boolean {
  const bytes = address.toByteArray();
  return CARRIERS.some(
    ({ range, places }) =>
      address.match(range) && places.some((place) => METADATA.has(place.map((at) => bytes[at]).join("."))),
  );
}

export type Resolve = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** All addresses of a name, in the resolver's order. Rejects with the resolver's error. */
export function lookupAll(hostname: string, resolve: Resolve = systemLookup): Promise<string[]> {
  return new Promise((done, fail) => {
    // As sockets ask: no address of a family that this machine has not.
    resolve(hostname, { all: true, order: "verbatim", hints: ADDRCONFIG }, (error, found) => {
      if (error === null) done(found.map(({ address }) => address));
      else fail(error);
    });
  });
}

/** The same, never none, and each of them allowed. @throws AddressRefused */
export async function judgedAddresses(hostname: string, allowPrivate: boolean, resolve?: Resolve): Promise<string[]> {
  const addresses = await lookupAll(hostname, resolve);
  if (addresses.length === 0) throw new AddressRefused(`${hostname} resolves to no address`);
  for (const address of addresses) {
    const refusal = refusalOf(hostname, address, allowPrivate);
    if (refusal !== undefined) throw refusal;
  }
  return addresses;
}

/** Without the brackets of an IPv6 address: a URL has them, a socket has not. */
export function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

/** For a host that is an address itself; undefined where it may be connected to. */
export function refusalOfLiteral(hostname: string, allowPrivate: boolean): AddressRefused | undefined {
  const host = bare(hostname);
  return isIP(host) === 0 ? undefined : refusalOf(host, host, allowPrivate);
}

/** Fails a connection before it is made; its message says why and what to do. */
export class AddressRefused extends Error {
  override readonly name = "AddressRefused";
}

function refusalOf(hostname: string, address: string, allowPrivate: boolean): AddressRefused | undefined {
  const verdict = judgeAddress(address);
  if (verdict === "public" || (verdict === "private" && allowPrivate)) return undefined;
  const message =
    verdict === "private"
      ? `${hostname} is on a loopback, private or otherwise not public address; set allowPrivate: true for this upstream if it belongs there`
      : `${hostname} is on an address where no registry is ever asked`;
  return new AddressRefused(message);
}
