/**
 * The units of the configuration: sizes, durations, listen addresses.
 *
 * Pure functions from text to numbers that carry one unit each (bytes, milliseconds). A text that is not understood is
 * a `Failure` of kind `invalid` whose message says what is expected, with an example; nothing is ever guessed.
 */
import { isIP } from "node:net";
import { Failure } from "../base/failure.ts";

export interface ListenAddress {
  /** An address or a host name, without brackets. */
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
}

/** Bytes, or a share of the file system that holds the cache. */
export type SizeLimit = number | { readonly percent: number };

const SIZE = /^(\d{1,16}(?:\.\d{1,6})?) ?(B|KB|MB|GB|TB|PB|KiB|MiB|GiB|TiB|PiB)?$/;
const PERCENT = /^(\d{1,3}(?:\.\d{1,3})?) ?%$/;
const DURATION = /^(\d{1,15}(?:\.\d{1,6})?) ?(ms|s|m|h|d)$/;
const LISTEN = /^(?:\[([^[\]]{1,64})\]|([^:[\]]{1,253})):(\d{1,5})$/;
const HOST_NAME = /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/i;

const BYTES_PER: Readonly<Record<string, number>> = {
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  PB: 1e15,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
  PiB: 2 ** 50,
};

const MS_PER: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `10GiB`, `500MB`, `1.5TiB`, or a plain number of bytes. @throws Failure `invalid` */
export function parseSize(value: string | number): number {
  const match = SIZE.exec(typeof value === "number" ? plain(value) : value.trim());
  const bytes = match === null ? Number.NaN : Math.round(Number(match[1]) * (BYTES_PER[match[2] ?? "B"] ?? Number.NaN));
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new Failure("invalid", "expected a size such as 10GiB or 500MB, or a plain number of bytes");
}

/** What `parseSize` reads, or a share such as `80%`. @throws Failure `invalid` */
export function parseSizeLimit(value: string | number): SizeLimit {
  const match = typeof value === "string" ? PERCENT.exec(value.trim()) : null;
  const percent = Number(match?.[1] ?? Number.NaN);
  if (percent > 0 && percent <= 100) return { percent };
  try {
    if (match === null) return parseSize(value);
  } catch {
    // Said below, with the share as a further possibility.
  }
  throw new Failure(
    "invalid",
    'expected a size such as 50GiB, a plain number of bytes, or a share of the file system such as "80%"',
  );
}

/** `250ms`, `30s`, `5m`, `12h`, `30d`; a bare 0 needs no unit. @throws Failure `invalid` */
export function parseDuration(value: string | number): number {
  const text = typeof value === "number" ? plain(value) : value.trim();
  const match = DURATION.exec(text === "0" ? "0s" : text);
  const ms = match === null ? Number.NaN : Math.round(Number(match[1]) * (MS_PER[match[2] ?? ""] ?? Number.NaN));
  if (Number.isSafeInteger(ms)) return ms;
  throw new Failure("invalid", "expected a duration with its unit, such as 250ms, 30s, 5m, 12h or 30d");
}

/** `127.0.0.1:5000`, `[::]:5000`, `localhost:5000`. @throws Failure `invalid` */
export function parseListen(value: string): ListenAddress {
  const match = LISTEN.exec(value.trim());
  const bracketed = match?.[1];
  const bare = match?.[2];
  const port = Number(match?.[3] ?? Number.NaN);
  const host = bracketed ?? bare ?? "";
  const good = bracketed === undefined ? isHost(host) : isIP(bracketed) === 6;
  if (good && port <= 65_535) return { host, port };
  throw new Failure("invalid", "expected host:port, such as 127.0.0.1:5000, 0.0.0.0:5000 or [::]:5000");
}

/** The address as it stands in a URL or in the configuration; the inverse of `parseListen`. */
export function listenText(address: ListenAddress): string {
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

/** True for a host name or an IPv4 address. What looks like an IPv4 address must be one. */
export function isHost(text: string): boolean {
  return /^[\d.]+$/.test(text) ? isIP(text) === 4 : HOST_NAME.test(text);
}

function plain(value: number): string {
  return Number.isSafeInteger(value) ? String(value) : "";
}

/** `50GiB`, `1.5MiB`, `999 bytes`: for people, with at most one decimal. */
export function sizeText(bytes: number): string {
  let unit = "bytes";
  let value = bytes;
  for (const next of ["KiB", "MiB", "GiB", "TiB", "PiB"]) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return unit === "bytes" ? `${bytes} bytes` : `${Number(value.toFixed(1))}${unit}`;
}
