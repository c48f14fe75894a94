/**
 * Registry names as they stand in image references: `host`, `host:port`, `[v6]:port`.
 *
 * A name that left here is lower case and safe as a map key, a label value and a path component of a URL. Docker Hub's
 * names are one: `docker.io`.
 */
import { isIP } from "node:net";
import { Failure } from "../base/failure.ts";
import { isHost } from "./units.ts";

export const DOCKER_HUB = "docker.io";

const HUB_ALIASES: ReadonlySet<string> = new Set([
  DOCKER_HUB,
  "index.docker.io",
  "registry-1.docker.io",
  "registry.hub.docker.com",
]);
const SHAPE = /^(?:\[([^[\]]{1,64})\]|([^:[\]]{1,253}))(?::(\d{1,5}))?$/;

/** What a name stands for: lower case, and `docker.io` for all names of Docker Hub. */
export function canonicalRegistryName(name: string): string {
  const lower = name.toLowerCase();
  return HUB_ALIASES.has(lower) ? DOCKER_HUB : lower;
}

/** @throws Failure `invalid` */
export function parseRegistryName(text: string): string {
  const host = parseHostHeader(text);
  return canonicalRegistryName(host);
}

/** A `Host` header value, in lower case. @throws Failure `invalid` */
export function parseHostHeader(text: string): string {
  const match = SHAPE.exec(text);
  const bracketed = match?.[1];
  const port = match?.[3];
  const good = bracketed === undefined ? isHost(match?.[2] ?? "") : isIP(bracketed) === 6;
  if (good && (port === undefined || (Number(port) >= 1 && Number(port) <= 65_535))) return text.toLowerCase();
  throw new Failure(
    "invalid",
    "expected a registry name, host or host:port, such as ghcr.io or registry.example.com:5000",
  );
}
