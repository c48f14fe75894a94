/**
 * What belongs to a manifest without being named by it: referrers (distribution specification, "Listing Referrers", with
 * its tag for registries that have no such list), and cosign's signatures, attestations and bills of material by tag.
 *
 * What was found is believed for an hour, so that an image that is here costs nothing but its tag's HEAD.
 */
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";
import type { Clock } from "../base/clock.ts";
import { placeKey } from "../meta/repositories.ts";
import type { Route } from "../mirror/route.ts";
import { algorithmOf, type Digest, hexOf, isDigest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { parseTag, type Tag } from "../oci/reference.ts";
import type { WarmDocuments, WarmedManifest } from "./warm-documents.ts";

export interface Companions {
  readonly digests: readonly Digest[];
  /** True where the registry lists referrers. */
  readonly listed: boolean;
  /** True where there are some by tag. */
  readonly tagged: boolean;
}

export interface CompanionOptions {
  /** Look for tags as well. */
  readonly tags: boolean;
  readonly list: boolean;
  /** Told of what was fetched on the way. */
  readonly onFetched: (warmed: WarmedManifest) => void;
}

const BELIEVED_MS = 60 * 60_000;
const MAX_BELIEVED = 20_000;
const COSIGN = [".sig", ".att", ".sbom"];

export class CompanionBook {
  readonly #clock: Clock;
  readonly #found = new LRUCache<string, { readonly companions: Companions; readonly at: number }>(
    atMost(MAX_BELIEVED),
  );

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @throws Failure. */
  async find(documents: WarmDocuments, route: Route, subject: Digest, options: CompanionOptions): Promise<Companions> {
    const key = `${placeKey(route)}@${subject} ${options.list} ${options.tags}`;
    const known = this.#found.get(key);
    const ageMs = this.#clock.now() - (known?.at ?? 0);
    if (known !== undefined && ageMs >= 0 && ageMs < BELIEVED_MS) return known.companions;
    const at = this.#clock.now();
    const companions = await look(documents, route, subject, options);
    this.#found.set(key, { companions, at });
    return companions;
  }
}

async function look(
  documents: WarmDocuments,
  route: Route,
  subject: Digest,
  { tags, list, onFetched }: CompanionOptions,
): Promise<Companions> {
  const question = { of: "referrers", digest: subject, query: "" } as const;
  const entries = list ? await documents.list(route, question, "manifests") : [];
  const digests = new Set<Digest>((entries ?? []).map(digestOfEntry).filter((digest) => digest !== undefined));
  let tagged = false;
  const named = [...(entries === undefined ? [""] : []), ...(tags ? COSIGN : [])];
  for (const suffix of named) {
    const warmed = await documents.findTag(route, companionTag(subject, suffix));
    if ("absent" in warmed) continue;
    tagged = true;
    onFetched(warmed);
    digests.add(warmed.manifest.digest);
    // The specification's tag names a list of referrers, which is an index.
    if (suffix !== "") continue;
    for (const { digest } of parseManifest(warmed.manifest.bytes, warmed.manifest.mediaType).manifests) {
      digests.add(digest);
    }
  }
  digests.delete(subject);
  return { digests: [...digests], listed: entries !== undefined, tagged };
}

function companionTag(subject: Digest, suffix: string): Tag {
  return parseTag(`${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}${suffix}`);
}

function digestOfEntry(entry: unknown): Digest | undefined {
  const digest: unknown = typeof entry === "object" && entry !== null ? Reflect.get(entry, "digest") : undefined;
  return typeof digest === "string" && isDigest(digest) ? digest : undefined;
}
