/**
 * What is said at start: where the mirror is, what it serves, and how to point a client at it.
 *
 * A pure function of data. It names accounts and never a secret.
 */
import { DOCKER_HUB } from "../config/registry-name.ts";
import { type ListenAddress, listenText, type SizeLimit, sizeText } from "../config/units.ts";
import { plain } from "./wording.ts";

export interface SummaryFacts {
  readonly version: string;
  /** As bound, with the real port. */
  readonly registry: ListenAddress;
  /** The registry API is served over TLS. */
  readonly tls: boolean;
  readonly admin: ListenAddress;
  /** The machine's name, said where the mirror listens on all addresses. */
  readonly hostName: string;
  readonly upstreams: readonly SummaryUpstream[];
  readonly defaultUpstream: string;
  readonly offline: boolean;
  readonly cacheDir: string;
  readonly maxSize: SizeLimit;
}

export interface SummaryUpstream {
  readonly name: string;
  /** Names of accounts, or what kinds of credential they are; none = anonymous. */
  readonly accounts: readonly string[];
}

const ANY_ADDRESS: ReadonlySet<string> = new Set(["0.0.0.0", "::", "0:0:0:0:0:0:0:0"]);

export function summaryText(facts: SummaryFacts): string {
  const registry = reachable(facts.registry, facts.hostName);
  const admin = `http://${listenText(reachable(facts.admin, facts.hostName))}`;
  const limit = typeof facts.maxSize === "number" ? sizeText(facts.maxSize) : `${facts.maxSize.percent}% of the disk`;
  const lines = [
    `wharfinger ${facts.version} serves ${schemeOf(facts)}://${listenText(registry)}`,
    ...facts.upstreams.map((upstream, at) => upstreamLine(upstream, at, facts.defaultUpstream)),
    ...(facts.offline ? ["  offline    no upstream is contacted; only what is stored is served"] : []),
    `  cache      ${facts.cacheDir}, up to ${limit}`,
    `  admin      ${admin}/metrics  ${admin}/healthz  ${admin}/readyz`,
    "",
    ...dockerLines(registry, facts),
    "containerd, podman and others: see README.md, and GET /v2/ answers 200 when all is well.",
  ];
  return `${lines.join("\n")}\n`;
}

function upstreamLine({ name, accounts }: SummaryUpstream, at: number, defaultUpstream: string): string {
  const who = accounts.length === 0 ? "anonymous" : `as ${accounts.map((one) => plain(one)).join(", ")}`;
  return `  ${at === 0 ? "mirrors    " : "           "}${name} (${who}${name === defaultUpstream ? ", default" : ""})`;
}

/** Docker asks its mirrors for Docker Hub's images only, so there is something to say only where that is mirrored. */
function dockerLines(registry: ListenAddress, facts: SummaryFacts): string[] {
  if (!facts.upstreams.some(({ name }) => name === DOCKER_HUB)) return [];
  const place = listenText(registry);
  const path = facts.defaultUpstream === DOCKER_HUB ? "" : `/${DOCKER_HUB}`;
  // Docker speaks plain HTTP to loopback addresses by itself.
  const insecure = facts.tls || isLoopback(registry.host) ? "" : `, "insecure-registries": ["${place}"]`;
  return [
    "Docker: put this into /etc/docker/daemon.json and restart Docker",
    `  { "registry-mirrors": ["${schemeOf(facts)}://${place}${path}"]${insecure} }`,
    "",
  ];
}

function schemeOf({ tls }: SummaryFacts): string {
  return tls ? "https" : "http";
}

function reachable(address: ListenAddress, hostName: string): ListenAddress {
  return ANY_ADDRESS.has(address.host) ? { host: hostName, port: address.port } : address;
}

function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}
