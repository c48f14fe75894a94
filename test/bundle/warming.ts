/** Asks a mirror of a test to warm images, and tells what came of it. */
import type { ApiEvent } from "../../src/api/operation.ts";
import type { WarmSummary } from "../../src/bundle/warm.ts";
import { messengerTo } from "../../src/cli/desk-remote.ts";
import { deskOver } from "../../src/cli/desk-talk.ts";
import { OCI_INDEX } from "../../src/oci/mediatypes.ts";
import { makeImage, makeIndex, type TestImage } from "../kit/image.ts";
import type { TestMirror } from "../kit/mirror.ts";

export interface Warming {
  readonly events: readonly ApiEvent[];
  readonly summary: WarmSummary;
}

/** @throws Failure. */
export async function warm(mirror: TestMirror, input: object, signal = new AbortController().signal): Promise<Warming> {
  const events: ApiEvent[] = [];
  for await (const event of warmEvents(mirror, input, signal)) events.push(event);
  const last = events.at(-1);
  if (last?.event !== "done") throw new Error(`the last event is ${last?.event}`);
  return { events, summary: last.result as WarmSummary };
}

export function warmEvents(mirror: TestMirror, input: object, signal: AbortSignal): AsyncIterable<ApiEvent> {
  const { hostname: host, port } = new URL(mirror.adminUrl);
  return deskOver(messengerTo({ host, port: Number(port) })).events("/api/v1/warm", input, { signal });
}

/** Two platforms that share a layer. */
export function sharedIndex(seed = 1, layerBytes = 100_000) {
  const shared = makeImage({ layers: [layerBytes], seed });
  const layer = [...shared.blobs.values()][0] ?? Buffer.alloc(0);
  const of = (architecture: string, at: number): TestImage =>
    makeImage({ layers: [layer, 5000 + at], seed: seed * 10 + at, architecture });
  return makeIndex([of("amd64", 1), of("arm64", 2)]);
}

/** BuildKit's form: the attestation stands in the index, for `unknown/unknown`, and names what it is about. */
export function withAttestation(image: TestImage) {
  const attestation = makeImage({ layers: [700], seed: 77, architecture: "unknown" });
  const entry = (of: TestImage, platform: object, annotations?: object) => ({
    mediaType: of.mediaType,
    digest: of.digest,
    size: of.manifest.length,
    platform,
    ...(annotations === undefined ? {} : { annotations }),
  });
  const about = {
    "vnd.docker.reference.type": "attestation-manifest",
    "vnd.docker.reference.digest": image.digest,
  };
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: OCI_INDEX,
      manifests: [
        entry(image, { os: "linux", architecture: image.architecture }),
        entry(attestation, { os: "unknown", architecture: "unknown" }, about),
      ],
    }),
  );
  return { manifest, attestation, mediaType: OCI_INDEX };
}
