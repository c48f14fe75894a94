/**
 * Registries known by name: what a user need not configure, and what is worth knowing before asking.
 *
 * Data only, each entry with its public source. A registry that is missing here works as well, with its API at
 * `https://<name>` and whatever its challenge says. Nothing here opens a door but `realmHosts`: targets of redirects are
 * told, never required, for their owners change them.
 */
import { canonicalRegistryName } from "../../config/registry-name.ts";
import { FAMILIES, type FamilyFacts } from "./families.ts";

export interface KnownRegistry extends FamilyFacts {
  readonly name: string;
  /** Origin of the API. */
  readonly apiUrl: string;
  /** Hosts of token servers that may receive credentials for this API, besides the registry's own domain. */
  readonly realmHosts: readonly string[];
  /** Put before a repository name of one component. */
  readonly implicitNamespace: string | undefined;
  /**
   * False where the first component of a repository is never a host name, so that one is a mistake; true where it may be, for
   * all that is known.
   */
  readonly hostLikeNamespaces: boolean;
}

interface NamedEntry extends Partial<KnownRegistry> {
  readonly name: string;
}

interface PatternEntry extends Partial<KnownRegistry> {
  /** Over host names in lower case, whole. */
  readonly pattern: RegExp;
}

const NAMED: readonly NamedEntry[] = [
  {
    ...FAMILIES.hub,
    name: "docker.io",
    apiUrl: "https://registry-1.docker.io",
    realmHosts: ["auth.docker.io"],
    implicitNamespace: "library",
    hostLikeNamespaces: false,
  },
  // The same registry over IPv6 alone (docker/docs: content/manuals/desktop/setup/allow-list.md; docs.docker.com/docker-hub/ipv6).
  {
    ...FAMILIES.hub,
    name: "registry.ipv6.docker.com",
    realmHosts: ["auth.ipv6.docker.com"],
    implicitNamespace: "library",
    hostLikeNamespaces: false,
  },
  // Accounts of GitHub have letters, digits and hyphens (docs.github.com: "Username considerations for external authentication").
  { ...FAMILIES.ghcr, name: "ghcr.io", hostLikeNamespaces: false },
  { ...FAMILIES.quay, name: "quay.io" },
  { ...FAMILIES.google, name: "gcr.io" },
  { ...FAMILIES.k8s, name: "registry.k8s.io" },
  { ...FAMILIES.mcr, name: "mcr.microsoft.com" },
  { ...FAMILIES.ecrPublic, name: "public.ecr.aws" },
  // The dual-stack name (docs.aws.amazon.com/AmazonECR/latest/public: "Making requests to Amazon ECR Public registries").
  { ...FAMILIES.ecrPublic, name: "ecr-public.aws.com", realmHosts: ["public.ecr.aws"] },
  // docs.gitlab.com/administration/packages/container_registry: `token_realm` is GitLab's own host.
  { ...FAMILIES.gitlab, name: "registry.gitlab.com", realmHosts: ["gitlab.com"] },
  // docs.gitlab.com/user/packages/dependency_proxy: names are `<group>/dependency_proxy/containers/<image>`.
  { ...FAMILIES.gitlabProxy, name: "gitlab.com" },
];

const PATTERNED: readonly PatternEntry[] = [
  // docs.aws.amazon.com/general/latest/gr/ecr.html: with FIPS, China, and the dual-stack names on.aws.
  {
    ...FAMILIES.ecr,
    pattern:
      /^\d{12}\.dkr[.-]ecr(?:-fips)?\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|on\.(?:aws|amazonwebservices\.com\.cn))$/,
  },
  // cloud.google.com/artifact-registry/docs/docker/names; gcr.io's hosts are served by the same since 2025.
  { ...FAMILIES.google, pattern: /^(?:[a-z0-9-]+-docker\.pkg\.dev|(?:us|eu|asia|mirror|marketplace|k8s)\.gcr\.io)$/ },
  // learn.microsoft.com/azure/container-registry; its sovereign clouds, and regional names of replicas.
  { ...FAMILIES.acr, pattern: /^[a-z0-9-]{5,50}(?:\.[a-z0-9]+\.geo)?\.azurecr\.(?:io|cn|us)$/ },
  // jfrog.com/help: "Docker repository URL formats" (repository path, subdomain and port method); the first two on jfrog.io.
  { ...FAMILIES.artifactory, pattern: /^[a-z0-9-]+\.jfrog\.io$/ },
];

const plain = (name: string): KnownRegistry => ({
  ...FAMILIES.distribution,
  name,
  apiUrl: `https://${name}`,
  realmHosts: [],
  implicitNamespace: undefined,
  hostLikeNamespaces: true,
});

/** Those with a name of their own; what is known by pattern is as many as there are customers. */
export const KNOWN_REGISTRIES: readonly KnownRegistry[] = NAMED.map((one) => ({ ...plain(one.name), ...one }));

const byName = new Map(KNOWN_REGISTRIES.map((known) => [known.name, known]));
const byApiOrigin = new Map(KNOWN_REGISTRIES.map((known) => [known.apiUrl, known]));

/** Finds by name or alias, in whatever case. */
export function findKnown(name: string): KnownRegistry | undefined {
  const canonical = canonicalRegistryName(name);
  return byName.get(canonical) ?? byPattern(canonical);
}

/** Finds the registry whose API is exactly there: what is known of it holds for no other place. */
export function findKnownAt(endpoint: URL): KnownRegistry | undefined {
  const named = byApiOrigin.get(endpoint.origin);
  if (named !== undefined) return named;
  return endpoint.protocol === "https:" && endpoint.port === "" ? byPattern(endpoint.hostname) : undefined;
}

function byPattern(host: string): KnownRegistry | undefined {
  const entry = PATTERNED.find(({ pattern }) => pattern.test(host));
  if (entry === undefined) return undefined;
  const { pattern: _, ...facts } = entry;
  return { ...plain(host), ...facts };
}
