/**
 * `NO_PROXY`: which hosts are asked directly; pure.
 *
 * As curl and Go read it: names hold for what is below them, with or without a leading dot or `*.`; addresses and ranges hold
 * for hosts that are written as addresses, nothing is looked up; `host:port` holds for this port only; `*` is everything.
 * As in Go, this machine itself is never asked by way of a proxy.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Entry = (host: string, address: Address | undefined, port: number) => boolean;

/** Whether `host`, a name or an address without brackets, is asked directly at `port`. */
export type Bypass = (host: string, port: number) => boolean;

export function parseNoProxy(text: string): Bypass {
  const entries = text.split(/[\s,]+/).flatMap((word) => (word === "" ? [] : [entryOf(word.toLowerCase())]));
  return (host, port) => {
    const name = host.toLowerCase().replace(/\.$/, "");
    const address = addressOf(name);
    const here = address === undefined ? /(?:^|\.)localhost$/.test(name) : address.range() === "loopback";
    return here || entries.some((entry) => entry(name, address, port));
  };
}

function entryOf(word: string): Entry {
  if (word === "*") return () => true;
  const range = rangeOf(word);
  if (range !== undefined) {
    return (_name, address) => address?.kind() === range[0].kind() && address.match(range);
  }
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(word) ?? [];
  // An address of IPv6 needs no brackets where no port follows.
  const subject = bracketed ?? plain ?? word;
  const port = digits === undefined ? undefined : Number(digits);
  const own = addressOf(subject);
  if (own !== undefined) {
    return (_name, address, at) => (port ?? at) === at && address?.toNormalizedString() === own.toNormalizedString();
  }
  const domain = subject.replace(/^\*?\./, "").replace(/\.$/, "");
  return (name, address, at) =>
    domain !== "" && address === undefined && (port ?? at) === at && (name === domain || name.endsWith(`.${domain}`));
}

function addressOf(text: string): Address | undefined {
  return isIP(text) === 0 ? undefined : ipaddr.process(text);
}

function rangeOf(word: string): [Address, number] | undefined {
  if (!word.includes("/")) return undefined;
  try {
    return ipaddr.parseCIDR(word.replace(/^\[([^\]]*)\]/, "$1"));
  } catch {
    return undefined;
  }
}
