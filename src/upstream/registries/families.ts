/**
 * What registries of one kind have in common, whoever runs them.
 *
 * Data only. The kinds that run on hosts of their owners' (Harbor, GitLab, Artifactory, Docker Trusted Registry, plain
 * distribution) have no host here; `findFamily` tells them by their challenge and headers, for `wharfinger check`.
 * Requests are made by what an upstream says, not by its kind.
 */
import type { Challenge } from "../auth/challenge.ts";

export type Family =
  | "hub"
  | "ecr"
  | "ecrPublic"
  | "ghcr"
  | "google"
  | "acr"
  | "mcr"
  | "gitlab"
  | "gitlabProxy"
  | "harbor"
  | "artifactory"
  | "quay"
  | "k8s"
  | "trusted"
  | "distribution";

/** A limit that holds unless the registry says another. */
export interface DefaultLimit {
  readonly who: "anonymous" | "authenticated";
  readonly requests: number;
  readonly perMs: number;
  /** What uses it up: GETs of manifests, every GET of manifest or layer, or every request. */
  readonly counts: "manifests" | "pulls" | "requests";
  /** Whose requests are added up. */
  readonly per: "address" | "account" | "owner" | "project";
}

export interface FamilyFacts {
  readonly family: Family;
  /** What people call it. */
  readonly title: string;
  /** Is there anything to be had without credentials? */
  readonly anonymous: "all" | "some" | "none";
  /** False where there is no referrers API and every digest is answered 404; some: it depends on the version, so it is asked. */
  readonly referrers: boolean | "some";
  /** Hosts that blobs (or more) are usually redirected to; `*` is one label or more. Told, never required. */
  readonly redirectsTo: readonly string[];
  readonly limits: readonly DefaultLimit[];
  /** A repository that everyone may ask about, whose answers tell the limit without using it up. */
  readonly limitProbe?: string;
}

const HOUR_MS = 3_600_000;

export const FAMILIES = {
  // docs.docker.com/docker-hub/usage/pulls; hosts: docs.docker.com/desktop/setup/allow-list.
  hub: {
    family: "hub",
    title: "Docker Hub",
    anonymous: "some",
    referrers: true,
    redirectsTo: [
      "production.cloudflare.docker.com",
      "production.cloudfront.docker.com",
      "docker-images-prod.*.r2.cloudflarestorage.com",
    ],
    limits: [
      { who: "anonymous", requests: 100, perMs: 6 * HOUR_MS, counts: "manifests", per: "address" },
      { who: "authenticated", requests: 200, perMs: 6 * HOUR_MS, counts: "manifests", per: "account" },
    ],
    limitProbe: "ratelimitpreview/test",
  },
  // docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html and service-quotas.html (per region, adjustable).
  ecr: {
    family: "ecr",
    title: "Amazon ECR",
    anonymous: "none",
    referrers: true,
    redirectsTo: ["prod-*-starport-layer-bucket.s3.*.amazonaws.com"],
    limits: [{ who: "authenticated", requests: 2000, perMs: 1000, counts: "manifests", per: "account" }],
  },
  // docs.aws.amazon.com/AmazonECR/latest/public/public-service-quotas.html.
  ecrPublic: {
    family: "ecrPublic",
    title: "Amazon ECR Public",
    anonymous: "all",
    referrers: true,
    redirectsTo: ["*.cloudfront.net"],
    limits: [
      { who: "anonymous", requests: 1, perMs: 1000, counts: "pulls", per: "address" },
      { who: "authenticated", requests: 10, perMs: 1000, counts: "pulls", per: "account" },
    ],
  },
  // docs.github.com: "Working with the Container registry".
  ghcr: {
    family: "ghcr",
    title: "GitHub Container Registry",
    anonymous: "some",
    referrers: false,
    redirectsTo: ["pkg-containers.githubusercontent.com"],
    limits: [{ who: "anonymous", requests: 44_000, perMs: 60_000, counts: "requests", per: "owner" }],
  },
  // cloud.google.com/artifact-registry/quotas; blobs: a relative redirect to /artifacts-downloads/ on the same host.
  google: {
    family: "google",
    title: "Google Artifact Registry",
    anonymous: "some",
    referrers: true,
    redirectsTo: ["*-docker.pkg.dev", "storage.googleapis.com"],
    limits: [{ who: "authenticated", requests: 60_000, perMs: 60_000, counts: "requests", per: "project" }],
  },
  // github.com/Azure/acr: docs/AAD-OAuth.md; learn.microsoft.com: "dedicated data endpoints".
  acr: {
    family: "acr",
    title: "Azure Container Registry",
    anonymous: "some",
    referrers: true,
    redirectsTo: ["*.blob.core.windows.net", "*.data.azurecr.io"],
    limits: [],
  },
  // github.com/microsoft/containerregistry: docs/client-firewall-rules.md.
  mcr: {
    family: "mcr",
    title: "Microsoft Artifact Registry",
    anonymous: "all",
    referrers: true,
    redirectsTo: ["*.data.mcr.microsoft.com"],
    limits: [],
  },
  // docs.gitlab.com/administration/packages/container_registry; referrers are on their way
  // (gitlab-org/container-registry#1205), so it is asked.
  gitlab: {
    family: "gitlab",
    title: "GitLab container registry",
    anonymous: "some",
    referrers: "some",
    redirectsTo: ["cdn.registry.gitlab-static.net", "storage.googleapis.com"],
    limits: [],
  },
  // docs.gitlab.com/user/packages/dependency_proxy: credentials are always wanted.
  gitlabProxy: {
    family: "gitlabProxy",
    title: "GitLab dependency proxy",
    anonymous: "none",
    referrers: false,
    redirectsTo: ["storage.googleapis.com", "cdn.gitlab-static.net"],
    limits: [],
  },
  // goharbor.io/docs: "Configure Proxy Cache" (names are `<project>/<upstream's name>`), "Create Robot Accounts".
  harbor: {
    family: "harbor",
    title: "Harbor",
    anonymous: "some",
    referrers: "some",
    redirectsTo: [],
    limits: [],
  },
  // jfrog.com/help: "Docker repository URL formats", "Redirect Requests to Cloud Storage"; referrers from 7.90.1.
  artifactory: {
    family: "artifactory",
    title: "JFrog Artifactory",
    anonymous: "some",
    referrers: "some",
    redirectsTo: ["*.amazonaws.com", "storage.googleapis.com", "*.cloudfront.net", "*.blob.core.windows.net"],
    limits: [],
  },
  // docs.quay.io; github.com/quay/quay: conf/nginx/rate-limiting.conf.jnj.
  quay: {
    family: "quay",
    title: "Quay",
    anonymous: "some",
    referrers: true,
    redirectsTo: ["cdn.quay.io", "cdn01.quay.io", "cdn02.quay.io", "cdn03.quay.io", "cdn04.quay.io"],
    limits: [],
  },
  // github.com/kubernetes/registry.k8s.io: cmd/archeio/docs/request-handling.md (which asks not to rely on the targets).
  k8s: {
    family: "k8s",
    title: "Kubernetes community registry",
    anonymous: "all",
    referrers: true,
    redirectsTo: ["*-docker.pkg.dev", "prod-registry-k8s-io-*.s3.dualstack.*.amazonaws.com"],
    limits: [],
  },
  // docs.mirantis.com/msr: its token server is on its own host, behind the same proxy (distribution/distribution#1487).
  trusted: {
    family: "trusted",
    title: "Docker Trusted Registry / MSR",
    anonymous: "some",
    referrers: false,
    redirectsTo: [],
    limits: [],
  },
  // distribution.github.io/distribution/about/configuration: no, htpasswd or token auth; redirects with S3, GCS, Azure.
  distribution: {
    family: "distribution",
    title: "distribution",
    anonymous: "some",
    referrers: "some",
    redirectsTo: [],
    limits: [],
  },
} as const satisfies Record<Family, FamilyFacts>;

/** What an answer gives away of who made it. */
export interface Signs {
  readonly challenges: readonly Challenge[];
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

const BY_SERVICE: Readonly<Record<string, Family>> = {
  "harbor-registry": "harbor",
  container_registry: "gitlab",
  dependency_proxy: "gitlabProxy",
  "ecr.amazonaws.com": "ecr",
  "registry.docker.io": "hub",
};

/** Artifactory's token path stands behind what its owner put before it (`/artifactory/api/docker/<key>/v2/token`). */
const BY_REALM: readonly (readonly [RegExp, Family])[] = [
  [/\/api\/docker\/[^/]+\/v2\/token$/, "artifactory"],
  [/\/service\/token$/, "harbor"],
  [/\/jwt\/auth$/, "gitlab"],
  [/\/v2\/auth$/, "quay"],
  [/\/auth\/token$/, "trusted"],
];

const BY_HEADER: readonly (readonly [string, Family])[] = [
  ["x-artifactory-id", "artifactory"],
  ["x-jfrog-version", "artifactory"],
  ["x-harbor-csrf-token", "harbor"],
  ["gitlab-container-registry-version", "gitlab"],
];

/** What it is by what it says; undefined where it could be anything that speaks the protocol. */
export function findFamily({ challenges, headers }: Signs): FamilyFacts | undefined {
  const family =
    BY_HEADER.find(([name]) => headers[name] !== undefined)?.[1] ??
    challenges.map(familyOf).find((found) => found !== undefined) ??
    (headers["docker-distribution-api-version"] === undefined ? undefined : "distribution");
  return family === undefined ? undefined : FAMILIES[family];
}

function familyOf({ parameters }: Challenge): Family | undefined {
  const realm = parameters.get("realm") ?? "";
  if (realm === "Artifactory Realm") return "artifactory";
  const service = parameters.get("service") ?? "";
  if (Object.hasOwn(BY_SERVICE, service)) return BY_SERVICE[service];
  const path = URL.parse(realm)?.pathname;
  return path === undefined ? undefined : BY_REALM.find(([pattern]) => pattern.test(path))?.[1];
}
