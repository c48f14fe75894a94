/**
 * All families of the zoo, in the order of its table.
 */
import type { Family } from "./enclosure.ts";
import { artifactory } from "./families/artifactory.ts";
import { dockerHub } from "./families/docker-hub.ts";
import { ecr, ecrPublic } from "./families/ecr.ts";
import { ghcr } from "./families/ghcr.ts";
import { gitlab, gitlabDependencyProxy } from "./families/gitlab.ts";
import { artifactRegistry, gcr } from "./families/google.ts";
import { harbor, harborProxy } from "./families/harbor.ts";
import { kubernetes } from "./families/kubernetes.ts";
import { acr, mcr } from "./families/microsoft.ts";
import { quay } from "./families/quay.ts";
import { distribution, onNoList, trustedRegistry } from "./families/self-hosted.ts";

export const FAMILIES: readonly Family[] = [
  dockerHub,
  ecr,
  ecrPublic,
  ghcr,
  artifactRegistry,
  gcr,
  acr,
  mcr,
  gitlab,
  gitlabDependencyProxy,
  harbor,
  harborProxy,
  artifactory,
  quay,
  kubernetes,
  trustedRegistry,
  distribution,
  onNoList,
];
