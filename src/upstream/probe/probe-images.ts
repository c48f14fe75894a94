/**
 * A public image of each known registry, whose manifest is asked for by HEAD to learn whether pulls are answered and what is
 * left of a limit. HEAD is no pull anywhere; Docker Hub keeps an image for this very purpose (`limitProbe`).
 */
import { findKnownAt } from "../registries/known.ts";

export interface ProbeImage {
  readonly repository: string;
  readonly tag: string;
}

const IMAGES: ReadonlyMap<string, ProbeImage> = new Map([
  ["ghcr.io", { repository: "actions/actions-runner", tag: "latest" }],
  ["quay.io", { repository: "prometheus/busybox", tag: "latest" }],
  ["gcr.io", { repository: "distroless/static", tag: "latest" }],
  ["registry.k8s.io", { repository: "pause", tag: "3.9" }],
  ["mcr.microsoft.com", { repository: "hello-world", tag: "latest" }],
  ["public.ecr.aws", { repository: "docker/library/busybox", tag: "latest" }],
]);

/** What to ask for there: what was said, what the registry is known for, the first that may be pulled by its full name. */
export function findProbeImage(
  endpoint: URL,
  asked: ProbeImage | undefined,
  allowed: readonly string[],
): ProbeImage | undefined {
  if (asked !== undefined) return asked;
  const known = findKnownAt(endpoint);
  if (known?.limitProbe !== undefined) return { repository: known.limitProbe, tag: "latest" };
  const image = IMAGES.get(known?.name ?? "");
  if (image !== undefined) return image;
  const repository = allowed.find((pattern) => !/[*?[\]{}!]/.test(pattern));
  return repository === undefined ? undefined : { repository, tag: "latest" };
}
