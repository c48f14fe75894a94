/**
 * Archives that `docker save` wrote before there was an image layout in them, and those that podman writes in that form:
 * `manifest.json` names a configuration and layers by their files. An image manifest is made of it, always the same one.
 *
 * Layers are as they are, mostly uncompressed; so the digest is none that a registry has for that image.
 */
import { Failure } from "../base/failure.ts";
import type { Digest } from "../oci/digest.ts";
import { DOCKER_MANIFEST } from "../oci/mediatypes.ts";
import { memberOf, parseJson } from "./layout.ts";
import { excerpt } from "./names.ts";
import { Turns } from "./turns.ts";

export const SAVED_FILE = "manifest.json";

/** A file of the archive that is stored by now. */
export interface SavedFile {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly isGzip: boolean;
}

export interface SavedImage {
  readonly manifest: Buffer;
  readonly repoTags: readonly string[];
}

/** Of a list of images that many share: an image takes some hundreds of bytes, and JSON is parsed in one go. */
export const MAX_SAVED_BYTES = 2 * 1024 * 1024;
const MAX_IMAGES = 10_000;
const MAX_LAYERS = 1000;
/** Of all images together: one file may be named again and again. */
const MAX_LAYERS_TOTAL = 50_000;
const CONFIG = "application/vnd.docker.container.image.v1+json";
const LAYER = "application/vnd.docker.image.rootfs.diff.tar";

/** @param find a file by its name in the archive, links followed. @throws Failure `corrupt` */
export async function readSaved(bytes: Buffer, find: (name: string) => SavedFile | undefined): Promise<SavedImage[]> {
  const images = parseJson(bytes, SAVED_FILE);
  if (!Array.isArray(images) || images.length > MAX_IMAGES) throw fault("it is no list of images");
  const fileOf = (name: string): SavedFile => {
    const file = find(name);
    if (file === undefined) throw fault(`it names "${excerpt(name)}", which the archive does not have`);
    return file;
  };
  const turns = new Turns();
  const found: SavedImage[] = [];
  let layersTotal = 0;
  for (const image of images as readonly unknown[]) {
    await turns.pass();
    const config = memberOf(image, "Config");
    if (typeof config !== "string") throw fault("an image has no configuration");
    const layers = textsIn(memberOf(image, "Layers"));
    if (layers.length > MAX_LAYERS) throw fault("an image has too many layers");
    layersTotal += layers.length;
    if (layersTotal > MAX_LAYERS_TOTAL) throw fault(`its images have more than ${MAX_LAYERS_TOTAL} layers`);
    const { digest, sizeBytes } = fileOf(config);
    const manifest = {
      schemaVersion: 2,
      mediaType: DOCKER_MANIFEST,
      config: { mediaType: CONFIG, size: sizeBytes, digest },
      layers: layers.map(fileOf).map((layer) => ({
        mediaType: layer.isGzip ? `${LAYER}.gzip` : LAYER,
        size: layer.sizeBytes,
        digest: layer.digest,
      })),
    };
    found.push({ manifest: Buffer.from(JSON.stringify(manifest)), repoTags: textsIn(memberOf(image, "RepoTags")) });
  }
  return found;
}

function textsIn(list: unknown): string[] {
  return Array.isArray(list) ? list.filter((entry) => typeof entry === "string") : [];
}

function fault(what: string): Failure {
  return new Failure("corrupt", `the archive's ${SAVED_FILE}: ${what}`);
}
