/**
 * The pull API of a registry over shelves (distribution-spec, "Pull", "Content Discovery"), with the peculiarities of one
 * family as options. Who may pull is its gate's to say.
 */
import { OCI_INDEX } from "../../../src/oci/mediatypes.ts";
import { BufferContent, type Content } from "../content.ts";
import type { ShelvedManifest, Shelves } from "../shelves.ts";
import { json, ociError } from "./answers.ts";
import type { Answer, Desk, Visit, VisitKind } from "./visit.ts";

export interface Gate {
  /** What is said instead of an answer; undefined lets pass. `repository` is undefined for a ping. */
  refusal(visit: Visit, repository: string | undefined): Answer | undefined;
  owns(authorization: string): boolean;
}

/** Nobody is asked who they are. */
export const OPEN: Gate = { refusal: () => undefined, owns: () => false };

export interface Unknowns {
  readonly repository: (name: string) => Answer;
  readonly manifest: (name: string, reference: string) => Answer;
  readonly blob: (name: string, digest: string) => Answer;
}

export interface RegistryOptions {
  readonly shelves: Shelves;
  /** In front of `/v2/`. */
  readonly prefix?: string;
  readonly gate: Gate;
  /** On every answer. */
  readonly headers?: Readonly<Record<string, string>>;
  /** How a media type is written in `Content-Type`. */
  readonly contentType?: (mediaType: string) => string;
  /** False: no `ETag`. */
  readonly etag?: boolean;
  /** Answers 404 where `Accept` does not name the manifest's type. */
  readonly enforcesAccept?: boolean;
  /** What the referrers API says where there is none; default there is one. */
  readonly referrers?: Answer;
  /** Where a blob is to be had; default here. */
  readonly openBlob?: (visit: Visit, content: Content, repository: string) => Answer;
  readonly unknown?: Partial<Unknowns>;
  readonly pageSize?: number;
  /** Answers a larger `n` of tags/list. */
  readonly pageTooLarge?: { readonly over: number; readonly answer: Answer };
  /** Looks at what passed the gate, before it is answered; may refuse, or add headers. */
  readonly limit?: (
    visit: Visit,
    kind: VisitKind,
  ) => { readonly headers?: Record<string, string>; readonly refusal?: Answer };
}

const PATH = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/;
const KINDS: Readonly<Record<string, VisitKind>> = {
  manifests: "manifest",
  blobs: "blob",
  tags: "tags",
  referrers: "referrers",
};

/** As distribution says it (registry/api/errcode/register.go, registry/api/v2/errors.go). */
const UNKNOWN: Unknowns = {
  repository: (name) => ociError(404, "NAME_UNKNOWN", "repository name not known to registry", { name }),
  manifest: (_name, reference) => ociError(404, "MANIFEST_UNKNOWN", "manifest unknown", `unknown tag=${reference}`),
  blob: (_name, digest) => ociError(404, "BLOB_UNKNOWN", "blob unknown to registry", digest),
};

export class Registry implements Desk {
  readonly #options: RegistryOptions;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  kindOf(visit: Visit): VisitKind | undefined {
    return this.#parse(visit)?.kind;
  }

  owns(authorization: string): boolean {
    return this.#options.gate.owns(authorization);
  }

  answer(visit: Visit): Answer {
    const { headers, body, status } = this.#answer(visit);
    const common = { "docker-distribution-api-version": "registry/2.0", ...this.#options.headers };
    return { status, body, headers: { ...common, ...headers } };
  }

  #parse(visit: Visit): { readonly kind: VisitKind; readonly name: string; readonly reference: string } | undefined {
    const { prefix = "" } = this.#options;
    if (!visit.path.startsWith(prefix)) return undefined;
    const path = visit.path.slice(prefix.length);
    if (path === "/v2/" || path === "/v2") return { kind: "ping", name: "", reference: "" };
    const [, name, what = "", reference = ""] = PATH.exec(path) ?? [];
    const kind = KINDS[what];
    return name === undefined || kind === undefined ? undefined : { kind, name, reference };
  }

  #answer(visit: Visit): Answer {
    const { gate, limit, shelves, unknown } = this.#options;
    const asked = this.#parse(visit);
    if (asked === undefined || (visit.method !== "GET" && visit.method !== "HEAD")) {
      return ociError(405, "UNSUPPORTED", "The operation is unsupported.");
    }
    const { kind, name, reference } = asked;
    const refused = gate.refusal(visit, kind === "ping" ? undefined : name);
    if (refused !== undefined) return refused;
    const limited = limit?.(visit, kind);
    if (limited?.refusal !== undefined) return limited.refusal;
    const unknowns = { ...UNKNOWN, ...unknown };
    const answer =
      kind === "ping"
        ? json({})
        : shelves.find(name) === undefined
          ? unknowns.repository(name)
          : this.#found(visit, kind, name, reference, unknowns);
    return { ...answer, headers: { ...answer.headers, ...limited?.headers } };
  }

  #found(visit: Visit, kind: VisitKind, name: string, reference: string, unknown: Unknowns): Answer {
    const { shelves, openBlob } = this.#options;
    if (kind === "tags") return this.#tags(visit, name);
    if (kind === "referrers") return this.#referrers(visit, name, reference);
    if (kind === "blob") {
      const content = shelves.find(name)?.blobs.get(reference);
      if (content === undefined) return unknown.blob(name, reference);
      return openBlob?.(visit, content, name) ?? inlineBlob(content);
    }
    const found = shelves.findManifest(name, reference);
    return found === undefined ? unknown.manifest(name, reference) : this.#manifest(visit, found);
  }

  #manifest(visit: Visit, { content, mediaType }: ShelvedManifest): Answer {
    const { enforcesAccept = false, etag = true, contentType = (type: string) => type } = this.#options;
    if (enforcesAccept && !(visit.headers.accept ?? "").includes(mediaType)) {
      // distribution, registry/handlers/manifests.go
      const which = mediaType === OCI_INDEX ? "OCI index" : "OCI manifest";
      const message = `${which} found, but Accept header does not support ${which === "OCI index" ? "OCI indexes" : "OCI manifests"}`;
      return ociError(404, "MANIFEST_UNKNOWN", "manifest unknown", { message });
    }
    const headers = {
      "content-type": contentType(mediaType),
      "docker-content-digest": content.digest,
      ...(etag ? { etag: `"${content.digest}"` } : {}),
    };
    return { status: 200, headers, body: content };
  }

  #tags(visit: Visit, name: string): Answer {
    const { shelves, pageSize = 100, pageTooLarge } = this.#options;
    const wanted = visit.query.get("n");
    if (pageTooLarge !== undefined && Number(wanted ?? 0) > pageTooLarge.over) return pageTooLarge.answer;
    const last = visit.query.get("last") ?? "";
    const all = [...(shelves.find(name)?.tags.keys() ?? [])].sort().filter((tag) => tag > last);
    const page = all.slice(0, Math.min(pageSize, wanted === null ? Infinity : Number(wanted)));
    const next = `${this.#options.prefix ?? ""}/v2/${name}/tags/list?last=${page.at(-1)}&n=${page.length}`;
    return json({ name, tags: page }, page.length < all.length ? { link: `<${next}>; rel="next"` } : {});
  }

  #referrers(visit: Visit, name: string, digest: string): Answer {
    const { referrers, shelves } = this.#options;
    if (referrers !== undefined) return referrers;
    const type = visit.query.get("artifactType") ?? undefined;
    const body = new BufferContent(shelves.referrersOf(name, digest, type));
    const filtered = type === undefined ? {} : { "oci-filters-applied": "artifactType" };
    return { status: 200, headers: { "content-type": OCI_INDEX, ...filtered }, body };
  }
}

/** distribution, registry/storage/blobserver.go. */
export function inlineBlob(content: Content): Answer {
  const headers = {
    "accept-ranges": "bytes",
    "cache-control": "max-age=31536000",
    "content-type": "application/octet-stream",
    "docker-content-digest": content.digest,
    etag: `"${content.digest}"`,
  };
  return { status: 200, headers, body: content };
}
