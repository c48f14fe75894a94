/**
 * From what a request says of its registry to an upstream and the repository's name there. Pure.
 *
 * The invariant: only configured upstreams are ever chosen. `ns`, the Host header and the path are the client's words,
 * so an unknown registry is an answer (`unknown`, NAME_UNKNOWN), never a request to it. What the forms are and in
 * which order they count is public interface; it is spelled out at `select` below.
 */
import { Failure } from "../../base/failure.ts";
import { canonicalRegistryName } from "../../config/registry-name.ts";
import { parseRepository, type Repository } from "../../oci/reference.ts";
import { findKnown } from "./known.ts";
import { type RepositoryRules, requireMayPull } from "./repositories.ts";

/** How a request names its upstream, besides the repository's name. */
export interface Addressing {
  /** Value of the query parameter `ns`. */
  readonly ns?: string | undefined;
  /** Value of the Host header. */
  readonly host?: string | undefined;
  /** The registry in `/<registry>/v2/…`, percent-decoded. */
  readonly prefix?: string | undefined;
}

export interface RoutingTable<T extends { readonly name: string }> {
  /** By configured name or an alias of it, with its port if it has one, in whatever case. */
  find(registry: string): T | undefined;
  /** By a Host header that the configuration gives to an upstream. */
  byHost(host: string): T | undefined;
  /** For a request that names no upstream. */
  readonly default: T | undefined;
  rules(upstream: T): RepositoryRules;
}

export interface Route<T> {
  readonly upstream: T;
  /** The name inside the upstream: registry stripped, `library/` added. */
  readonly repository: Repository;
}

export interface RoutingEntry<T> {
  readonly upstream: T;
  readonly hosts: readonly string[];
  readonly repositories: RepositoryRules;
}

/** `defaultName` that is not among the entries means no default. */
export function createRoutingTable<T extends { readonly name: string }>(
  entries: Iterable<RoutingEntry<T>>,
  defaultName: string | null | undefined,
): RoutingTable<T> {
  const byName = new Map<string, T>();
  const hosts = new Map<string, T>();
  const rules = new Map<T, RepositoryRules>();
  for (const entry of entries) {
    byName.set(canonicalRegistryName(entry.upstream.name), entry.upstream);
    for (const host of entry.hosts) hosts.set(host.toLowerCase(), entry.upstream);
    rules.set(entry.upstream, entry.repositories);
  }
  return {
    find: (registry) => byName.get(canonicalRegistryName(registry)),
    byHost: (host) => hosts.get(host.toLowerCase()) ?? hosts.get(host.toLowerCase().replace(/:\d{1,5}$/, "")),
    default: typeof defaultName === "string" ? byName.get(canonicalRegistryName(defaultName)) : undefined,
    rules: (upstream) => rules.get(upstream) ?? { allow: ["**"], deny: [] },
  };
}

/**
 * @param rawName what stands between `/v2/` and `/manifests/` (or the like), not yet validated.
 * @throws Failure `unknown` NAME_UNKNOWN, `invalid` NAME_INVALID, `denied` DENIED.
 */
export function routeTo<T extends { readonly name: string }>(
  table: RoutingTable<T>,
  addressing: Addressing,
  rawName: string,
): Route<T> {
  const slash = rawName.indexOf("/");
  const first = slash > 0 ? rawName.slice(0, slash) : rawName;
  // BuildKit and containerd's override_path name the registry in `ns` and in the path as well.
  const named = slash > 0 && slash + 1 < rawName.length ? table.find(first) : undefined;

  const chosen = select(table, addressing) ?? named;
  // Nobody but the registry's own name says that it is not meant: `/v2/quay.io/…` is no repository of the default upstream.
  const isStray = chosen === undefined && slash > 0 && looksLikeHost(first);
  if (isStray && table.default !== undefined && findKnown(table.default.name)?.hostLikeNamespaces !== true) {
    throw notConfigured(first);
  }
  const selected = chosen ?? table.default;
  const name = named !== undefined && named === selected ? rawName.slice(slash + 1) : rawName;
  if (selected === undefined) {
    throw looksLikeHost(first)
      ? notConfigured(first)
      : unknown("the request names no registry, and this mirror has no defaultUpstream", { name: excerpt(rawName) });
  }
  const repository = nameInside(table, selected, name);
  requireMayPull(table.rules(selected), selected.name, repository);
  return { upstream: selected, repository };
}

/**
 * For calls without a repository (`/v2/`, `/v2/_catalog`); undefined where the request names no upstream.
 * @throws Failure `unknown` NAME_UNKNOWN where it names one that is not configured.
 */
export function selectUpstream<T extends { readonly name: string }>(
  table: RoutingTable<T>,
  addressing: Addressing,
): T | undefined {
  return select(table, addressing);
}

/** `ns`, then Host, then prefix; the fourth form (first component) and the fifth (default) are for `routeTo`. */
function select<T extends { readonly name: string }>(table: RoutingTable<T>, addressing: Addressing): T | undefined {
  const { ns, host, prefix } = addressing;
  if (ns !== undefined) return table.find(ns) ?? refuse(ns);
  const byHost = host === undefined ? undefined : table.byHost(host);
  if (byHost !== undefined) return byHost;
  if (prefix !== undefined) return table.find(prefix) ?? refuse(prefix);
  return undefined;
}

function nameInside<T extends { readonly name: string }>(
  table: RoutingTable<T>,
  upstream: T,
  name: string,
): Repository {
  const known = findKnown(upstream.name);
  if (known?.hostLikeNamespaces === false) {
    const first = name.split("/", 1)[0] ?? "";
    if (looksLikeHost(first)) {
      if (table.find(first) === undefined) throw notConfigured(first);
      throw unknown(`${upstream.name} has no repositories under the name of a registry`, { name: excerpt(name) });
    }
  }
  const bare = parseRepository(name);
  if (known?.implicitNamespace === undefined || bare.includes("/")) return bare;
  return parseRepository(`${known.implicitNamespace}/${bare}`);
}

const HOST = /^[a-z0-9]+(?:[.-]+[a-z0-9]+)*(?::\d{1,5})?$/i;

/** As Docker tells a registry from a namespace. What could be neither is left to be refused as a name. */
function looksLikeHost(component: string): boolean {
  if (component.length > 255 || component.includes("..") || !HOST.test(component)) return false;
  return component.includes(".") || component.includes(":") || component.toLowerCase() === "localhost";
}

function refuse(registry: string): never {
  throw notConfigured(registry);
}

function notConfigured(registry: string): Failure {
  const shown = excerpt(registry);
  return unknown(`the registry "${shown}" is not configured in this mirror; add it under \`upstreams\``, {
    registry: shown,
  });
}

function unknown(message: string, detail: object): Failure {
  return new Failure("unknown", message, { code: "NAME_UNKNOWN", detail });
}

/** The client's text, short and printable. */
function excerpt(text: string): string {
  return text.slice(0, 255).replace(/[^\x20-\x7e]|"/g, "?");
}
