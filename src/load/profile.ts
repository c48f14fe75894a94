/**
 * How dockerd (its classic store), containerd and podman pull: which requests in which order, with which headers, and
 * how many at once. Data and pure functions.
 *
 * From their sources: dockerd pings `/v2/`, resolves a tag by HEAD and gets the manifest by digest; containerd does
 * not ping and HEADs digests as well; podman pings and gets the tag itself. dockerd and podman send one `Accept` line
 * for each type. dockerd gets the configuration beside three layers, containerd counts it among its three downloads,
 * podman looks at it before it gets six layers at once.
 */
import type { Descriptor } from "../oci/descriptor.ts";
import {
  DOCKER_LIST,
  DOCKER_MANIFEST,
  DOCKER_SCHEMA1,
  DOCKER_SCHEMA1_SIGNED,
  OCI_INDEX,
  OCI_MANIFEST,
} from "../oci/mediatypes.ts";
import type { Reference } from "../oci/reference.ts";
import type { ImagePlan } from "./image.ts";
import { type ClientKind, LAYERS_AT_ONCE } from "./options.ts";

export type RequestHeaders = Readonly<Record<string, string | string[]>>;

export interface PlannedRequest {
  readonly method: "GET" | "HEAD";
  readonly headers: RequestHeaders;
}

/** Blobs that are fetched `atOnce` at a time. */
export interface Lane {
  readonly blobs: readonly Descriptor[];
  readonly atOnce: number;
}

const DOCKERD_ACCEPTS = [DOCKER_MANIFEST, DOCKER_LIST, OCI_INDEX, OCI_MANIFEST];
const PODMAN_ACCEPTS = [OCI_MANIFEST, DOCKER_MANIFEST, DOCKER_SCHEMA1_SIGNED, DOCKER_SCHEMA1, DOCKER_LIST, OCI_INDEX];
const CONTAINERD_ACCEPTS = [DOCKER_MANIFEST, DOCKER_LIST, OCI_MANIFEST, OCI_INDEX, "*/*"].join(", ");

/** What Go asks for by itself with every GET that says nothing of encodings. */
const GO_ENCODINGS = "gzip";
const DOCKERD_ENCODINGS = "zstd, gzip, deflate";
const CONTAINERD_ENCODINGS = "zstd;q=1.0, gzip;q=0.8, deflate;q=0.5";

export function pingsFirst(as: ClientKind): boolean {
  return as !== "containerd";
}

/** The request that turns a reference into a digest; undefined where the client goes straight to the manifest. */
export function planResolution(as: ClientKind, reference: Reference): PlannedRequest | undefined {
  if (as === "containerd") return { method: "HEAD", headers: { accept: CONTAINERD_ACCEPTS } };
  if (as === "dockerd" && reference.type === "tag") return { method: "HEAD", headers: { accept: DOCKERD_ACCEPTS } };
  return undefined;
}

/** @param mediaType what is known of the manifest's type, from a HEAD or an index */
export function planManifest(as: ClientKind, mediaType: string | undefined): PlannedRequest {
  switch (as) {
    case "dockerd":
      return { method: "GET", headers: { accept: DOCKERD_ACCEPTS, "accept-encoding": GO_ENCODINGS } };
    case "containerd": {
      const accept = mediaType === undefined ? CONTAINERD_ACCEPTS : `${mediaType}, */*`;
      return { method: "GET", headers: { accept, "accept-encoding": CONTAINERD_ENCODINGS } };
    }
    case "podman":
      return { method: "GET", headers: { accept: PODMAN_ACCEPTS, "accept-encoding": GO_ENCODINGS } };
  }
}

export function planBlob(as: ClientKind, blob: Descriptor): PlannedRequest {
  switch (as) {
    case "dockerd":
      return { method: "GET", headers: { "accept-encoding": DOCKERD_ENCODINGS } };
    case "containerd": {
      const accept = blob.mediaType === "" ? "*/*" : `${blob.mediaType}, */*`;
      return { method: "GET", headers: { accept, "accept-encoding": CONTAINERD_ENCODINGS } };
    }
    case "podman":
      return { method: "GET", headers: { "accept-encoding": GO_ENCODINGS } };
  }
}

/** Steps one after another; the lanes of a step run beside each other. Every blob once. */
export function planBlobs(as: ClientKind, image: ImagePlan, concurrency: number | undefined): Lane[][] {
  const atOnce = concurrency ?? LAYERS_AT_ONCE[as];
  const config = image.config === undefined ? [] : [image.config];
  switch (as) {
    case "dockerd":
      return [
        [
          { blobs: config, atOnce: 1 },
          { blobs: image.layers, atOnce },
        ],
      ];
    case "containerd":
      return [[{ blobs: [...config, ...image.layers], atOnce }]];
    case "podman":
      return [[{ blobs: config, atOnce: 1 }], [{ blobs: image.layers, atOnce }]];
  }
}

/** How a tag is asked for when nothing but manifests is. */
export function manifestMethodOf(as: ClientKind): "GET" | "HEAD" {
  return as === "podman" ? "GET" : "HEAD";
}

/** `manifests` asks for the same thing again and again, by whichever method. */
export function planManifestByTag(as: ClientKind, method: "GET" | "HEAD"): PlannedRequest {
  const { headers } = planManifest(as, undefined);
  if (method === "GET") return { method, headers };
  const { "accept-encoding": _, ...rest } = headers;
  return { method, headers: rest };
}
