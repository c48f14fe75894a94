/**
 * Object stores and content networks that registries redirect to: signed URLs, each for one object, one method and a short
 * while, and no other word on who is asking.
 */
import { randomBytes } from "node:crypto";
import type { Content } from "../content.ts";
import { json, text, xml } from "./answers.ts";
import type { Answer, Desk, Visit, VisitKind } from "./visit.ts";

export interface Flavour {
  /** The query of a signed URL. */
  readonly query: (signature: string) => string;
  /** The parameter that holds the signature. */
  readonly parameter: string;
  readonly headers: Readonly<Record<string, string>>;
  /** An `Authorization` came along. */
  readonly twice: Answer;
  /** Of another object or method, or none at all. */
  readonly mismatch: Answer;
}

/** Amazon S3 API reference: "Authenticating Requests: Using Query Parameters" and "Error Responses". */
export const S3: Flavour = {
  query: (signature) =>
    `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIA%2F20261121%2Feu-west-1%2Fs3%2Faws4_request&X-Amz-Date=20261121T120000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Security-Token=token&X-Amz-Signature=${signature}`,
  parameter: "X-Amz-Signature",
  headers: { server: "AmazonS3", "x-amz-request-id": "0A1B2C3D4E5F6789", "content-type": "application/octet-stream" },
  // open-policy-agent/opa#6580 has the text.
  twice: xml(
    400,
    "<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified</Message><ArgumentName>Authorization</ArgumentName></Error>",
  ),
  mismatch: xml(
    403,
    "<Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature you provided. Check your key and signing method.</Message></Error>",
  ),
};

/** Amazon CloudFront developer guide, "Use signed URLs". */
export const CLOUDFRONT: Flavour = {
  query: (signature) => `Expires=1795176000&Signature=${signature}&Key-Pair-Id=K1A2B3C4D5E6F7`,
  parameter: "Signature",
  headers: {
    via: "1.1 edge.cloudfront.net (CloudFront)",
    "x-cache": "Hit from cloudfront",
    "content-type": "application/octet-stream",
  },
  twice: S3.twice,
  mismatch: xml(403, "<Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"),
};

/** Docker's allow list names the host (docker/docs, "Allowlist"); Cloudflare answers a bad signature by plain text. */
export const CLOUDFLARE: Flavour = {
  query: (signature) => `expires=1795176000&signature=${signature}&version=3`,
  parameter: "signature",
  headers: { server: "cloudflare", "cf-cache-status": "HIT", "content-type": "application/octet-stream" },
  twice: text(400, "Bad Request"),
  mismatch: text(403, "forbidden"),
};

/** Microsoft, "Create a service SAS" and "Blob service error codes". */
export const AZURE: Flavour = {
  query: (signature) => `se=2026-11-21T13%3A00%3A00Z&sig=${signature}&sp=r&spr=https&sr=b&sv=2018-03-28`,
  parameter: "sig",
  headers: {
    server: "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
    "x-ms-blob-type": "BlockBlob",
    "content-type": "application/octet-stream",
  },
  twice: xml(
    400,
    "<Error><Code>InvalidAuthenticationInfo</Code><Message>Authentication information is not given in the correct format. Check the value of Authorization header.</Message></Error>",
  ),
  mismatch: xml(
    403,
    "<Error><Code>AuthenticationFailed</Code><Message>Server failed to authenticate the request. Make sure the value of Authorization header is formed correctly including the signature.</Message></Error>",
  ),
};

/** Google Cloud Storage, "Signed URLs" and "XML API error responses". */
export const GOOGLE: Flavour = {
  query: (signature) =>
    `X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Date=20261121T120000Z&X-Goog-Expires=1200&X-Goog-SignedHeaders=host&X-Goog-Signature=${signature}`,
  parameter: "X-Goog-Signature",
  // The GitLab content network says that nothing may be kept, of what never changes.
  headers: {
    server: "UploadServer",
    "cache-control": "private, max-age=0",
    "content-type": "application/octet-stream",
  },
  twice: xml(
    400,
    "<Error><Code>InvalidArgument</Code><Message>Invalid argument.</Message><Details>Only one authentication mechanism may be specified.</Details></Error>",
  ),
  mismatch: xml(403, "<Error><Code>SignatureDoesNotMatch</Code><Message>Access denied.</Message></Error>"),
};

/** Artifact Registry's own downloads: what is in the path is the permission. */
export const IN_PATH: Flavour = {
  query: (signature) => `rid=${signature}`,
  parameter: "rid",
  headers: { "content-type": "application/octet-stream" },
  twice: text(400, "Bad Request"),
  mismatch: json(
    { error: { code: 403, message: "The caller does not have permission", status: "PERMISSION_DENIED" } },
    {},
    403,
  ),
};

/** Objects that anybody may read, as the buckets of registry.k8s.io. */
export const PUBLIC: Flavour = { ...S3, query: (signature) => `rid=${signature}`, parameter: "rid" };

interface Signed {
  readonly method: string;
  readonly path: string;
  readonly content: Content;
  expired: boolean;
}

export interface StorageOptions {
  readonly host: string;
  readonly flavour: Flavour;
  /** Only paths below it; default all of the host's. */
  readonly below?: string;
  /** The registry's own `Authorization`, where it is the same host and takes no harm. */
  readonly owns?: (authorization: string) => boolean;
}

export class Storage implements Desk {
  readonly #options: StorageOptions;
  readonly #signed = new Map<string, Signed>();
  #cutAfterBytes: number | undefined;

  constructor(options: StorageOptions) {
    this.#options = options;
  }

  /** The path and query of a URL that is good for one method. */
  sign(method: string, path: string, content: Content): string {
    const { host, flavour } = this.#options;
    const signature = randomBytes(32).toString("hex");
    this.#signed.set(signature, { method, path, content, expired: false });
    return `https://${host}${path}?${flavour.query(signature)}`;
  }

  /** The next body breaks off, and its URL is no good any more. */
  breakNext(afterBytes: number): void {
    this.#cutAfterBytes = afterBytes;
  }

  expireAll(): void {
    for (const signed of this.#signed.values()) signed.expired = true;
  }

  kindOf(visit: Visit): VisitKind | undefined {
    return visit.path.startsWith(this.#options.below ?? "/") ? "storage" : undefined;
  }

  owns(authorization: string): boolean {
    return this.#options.owns?.(authorization) ?? false;
  }

  answer(visit: Visit): Answer {
    const { flavour } = this.#options;
    if (visit.authorization !== undefined && !this.owns(visit.authorization)) return flavour.twice;
    const signed = this.#signed.get(visit.query.get(flavour.parameter) ?? "");
    const good =
      signed !== undefined && !signed.expired && signed.path === visit.path && signed.method === visit.method;
    if (!good) return flavour.mismatch;
    const { content } = signed;
    const cutAfterBytes = visit.method === "GET" ? this.#cutAfterBytes : undefined;
    if (cutAfterBytes !== undefined) {
      this.#cutAfterBytes = undefined;
      signed.expired = true;
    }
    const headers = { "accept-ranges": "bytes", etag: '"0123456789abcdef"', ...flavour.headers };
    return { status: 200, headers, body: content, cutAfterBytes };
  }
}

/** How registries redirect: signed for the method that is used, or for GET whatever is used (moby/moby#50065). */
export function redirectTo(
  storage: Storage,
  path: (digest: string, repository: string) => string,
  {
    status = 307,
    signsFor = "GET",
    relative = false,
  }: { status?: number; signsFor?: "GET" | "used"; relative?: boolean } = {},
): (visit: Visit, content: Content, repository: string) => Answer {
  return (visit, content, repository) => {
    const url = storage.sign(signsFor === "GET" ? "GET" : visit.method, path(content.digest, repository), content);
    const location = relative ? url.replace(/^https:\/\/[^/]+/, "") : url;
    const headers = { location, "docker-content-digest": content.digest, "content-type": "application/octet-stream" };
    return { status, headers, body: Buffer.alloc(0) };
  };
}
