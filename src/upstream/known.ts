/**
 * Registries known by name: what a user need not configure.
 *
 * Data only. A registry that is missing here works as well, with its API at `https://<name>`.
 */
import { canonicalRegistryName } from "../config/registry-name.ts";

export interface KnownRegistry {
  readonly name: string;
  /** Origin of the API. */
  readonly apiUrl: string;
  /** Hosts of token servers that may receive credentials for this API, besides the registry's own domain. */
  readonly realmHosts: readonly string[];
  /** Put before a repository name of one component. */
  readonly implicitNamespace: string | undefined;
  /** False where the first component of a repository is never a host name, so that one is a mistake. */
  readonly hostLikeNamespaces: boolean;
  /** False where the registry has no referrers API and answers 404 for every digest. */
  readonly referrers: boolean;
}

const plain = (name: string, more: Partial<KnownRegistry> = {}): KnownRegistry => ({
  name,
  apiUrl: `https://${name}`,
  realmHosts: [],
  implicitNamespace: undefined,
  hostLikeNamespaces: true,
  referrers: true,
  ...more,
});

export const KNOWN_REGISTRIES: readonly KnownRegistry[] = [
  plain("docker.io", {
    apiUrl: "https://registry-1.docker.io",
    realmHosts: ["auth.docker.io"],
    implicitNamespace: "library",
    hostLikeNamespaces: false,
  }),
  plain("ghcr.io", { referrers: false }),
  plain("quay.io"),
  plain("gcr.io"),
  plain("registry.k8s.io"),
  plain("mcr.microsoft.com"),
  plain("public.ecr.aws"),
  plain("registry.gitlab.com", { realmHosts: ["gitlab.com"] }),
];

const byName = new Map(KNOWN_REGISTRIES.map((known) => [known.name, known]));
const byApiOrigin = new Map(KNOWN_REGISTRIES.map((known) => [known.apiUrl, known]));

/** Finds by name or alias, in whatever case. */
export function findKnown(name: string): KnownRegistry | undefined {
  return byName.get(canonicalRegistryName(name));
}

/** Finds the registry whose API is exactly there: what is known of it holds for no other place. */
export function findKnownAt(endpoint: URL): KnownRegistry | undefined {
  return byApiOrigin.get(endpoint.origin);
}
