/**
 * Registries known by name: what a user need not configure.
 *
 * Data only. A registry that is missing here works as well, with its API at `https://<name>`.
 */

export interface KnownRegistry {
  readonly name: string;
  /** Other names that mean the same registry in image references and in `ns`. */
  readonly aliases: readonly string[];
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
  aliases: [],
  apiUrl: `https://${name}`,
  realmHosts: [],
  implicitNamespace: undefined,
  hostLikeNamespaces: true,
  referrers: true,
  ...more,
});

export const KNOWN_REGISTRIES: readonly KnownRegistry[] = [
  plain("docker.io", {
    aliases: ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"],
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

/** What a mirror without a configuration offers. */
export const ZERO_CONFIGURATION: readonly string[] = [
  "docker.io",
  "ghcr.io",
  "quay.io",
  "gcr.io",
  "registry.k8s.io",
  "mcr.microsoft.com",
  "public.ecr.aws",
];

const byName = new Map(
  KNOWN_REGISTRIES.flatMap((known) => [known.name, ...known.aliases].map((name) => [name, known] as const)),
);
const byApiOrigin = new Map(KNOWN_REGISTRIES.map((known) => [known.apiUrl, known]));

/** Finds by name or alias, in whatever case. */
export function findKnown(name: string): KnownRegistry | undefined {
  return byName.get(name.toLowerCase());
}

/** Finds the registry whose API is exactly there: what is known of it holds for no other place. */
export function findKnownAt(endpoint: URL): KnownRegistry | undefined {
  return byApiOrigin.get(endpoint.origin);
}

/** The one spelling of a registry's name: lower case, aliases replaced. */
export function canonicalRegistry(name: string): string {
  return findKnown(name)?.name ?? name.toLowerCase();
}
