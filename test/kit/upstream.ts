/**
 * A registry in this process, on loopback, that does what a test scripts it to do and remembers every request.
 *
 * Three servers, each on a port of its own: the registry, its token server, and a "CDN" that blobs may be redirected
 * to and that refuses any request with an `Authorization` header, as object stores do.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { BufferContent, type Content } from "./content.ts";
import { deliver } from "./delivery.ts";
import {
  type Fault,
  type FaultRule,
  Gate,
  type Matcher,
  matches,
  type RecordedRequest,
  type RequestedKind,
  takeFault,
} from "./faults.ts";
import { Shelves } from "./shelves.ts";
import { TokenDesk, type UpstreamAuth } from "./tokens.ts";

export interface TestUpstreamOptions {
  /** Default none. */
  readonly auth?: UpstreamAuth;
  /** False: the referrers API is answered 404, as registries before OCI 1.1 do. Default true. */
  readonly referrers?: boolean;
  /** Longest page of `tags/list`; default 1000. */
  readonly pageSize?: number;
  /** Answers blob GETs and HEADs with 307 to the CDN. */
  readonly redirectBlobs?: boolean;
  /**
   * Counts manifest GETs as Docker Hub does, says so in `ratelimit-*` headers of GET and HEAD, and answers GETs with 429, and
   * no `Retry-After`, when they are used up.
   */
  readonly pullLimit?: {
    readonly limit: number;
    readonly windowSeconds: number;
    /** Epoch milliseconds: what is counted leaves the window as it slides. Without one everything stays in it. */
    readonly now?: () => number;
  };
  /** Answers 404 for a manifest whose type the `Accept` header does not list. */
  readonly enforceAccept?: boolean;
}

interface Planned {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly content: Content;
}

const PATH = /^\/v2\/(.+)\/(manifests|blobs|tags|referrers)\/([^/]+)$/;

export class TestUpstream {
  /** Every request to any of the three servers, in order of arrival. */
  readonly requests: RecordedRequest[] = [];
  readonly shelves = new Shelves();
  readonly tokens: TokenDesk;
  readonly options: TestUpstreamOptions;
  /** When manifest GETs were counted against `pullLimit`, of those that may still be in its window. */
  #pulls: number[] = [];
  readonly #rules: FaultRule[] = [];
  readonly #servers: Server[] = [];
  #closed = new AbortController();
  readonly #urls = { registry: "", cdn: "", token: "" };

  private constructor(options: TestUpstreamOptions) {
    this.options = options;
    this.tokens = new TokenDesk(options.auth ?? { mode: "none" });
  }

  static async start(options: TestUpstreamOptions = {}): Promise<TestUpstream> {
    const upstream = new TestUpstream(options);
    for (const role of ["registry", "cdn", "token"] as const) upstream.#urls[role] = await upstream.#listen(role);
    return upstream;
  }

  /** `http://127.0.0.1:port`, no path. */
  get url(): string {
    return this.#urls.registry;
  }

  get cdnUrl(): string {
    return this.#urls.cdn;
  }

  get realm(): string {
    return `${this.#urls.token}/token`;
  }

  /**
   * Scripts a fault for the requests that match. Of several rules that apply at once, the later one wins key by key.
   * @returns takes the rule back.
   */
  fault(matcher: Matcher, fault: Fault, { times = Infinity, skip = 0 } = {}): () => void {
    const rule: FaultRule = { matcher, fault, left: times, skip };
    this.#rules.push(rule);
    return () => {
      rule.left = 0;
    };
  }

  /** Holds matching answers at a place until `release()`. */
  gate(matcher: Matcher, afterBytes: number | "headers", times?: number): Gate {
    const gate = new Gate(afterBytes);
    this.fault(matcher, { gate }, times === undefined ? {} : { times });
    return gate;
  }

  clearFaults(): void {
    this.#rules.length = 0;
  }

  matching(matcher: Matcher): RecordedRequest[] {
    return this.requests.filter((request) => matches(matcher, request));
  }

  count(matcher: Matcher): number {
    return this.matching(matcher).length;
  }

  /** How often each tag or digest was asked for. */
  countsByReference(matcher: Matcher): Map<string, number> {
    const counts = new Map<string, number>();
    for (const { reference } of this.matching(matcher)) {
      if (reference !== undefined) counts.set(reference, (counts.get(reference) ?? 0) + 1);
    }
    return counts;
  }

  /** What `pullLimit` counts in its window just now. */
  get pullsUsed(): number {
    const { now, windowSeconds = 0 } = this.options.pullLimit ?? {};
    const since = now === undefined ? Number.NEGATIVE_INFINITY : now() - windowSeconds * 1000;
    this.#pulls = this.#pulls.filter((at) => at > since);
    return this.#pulls.length;
  }

  /** Somebody else behind the same address pulls so often. */
  countPulls(count: number): void {
    const at = this.options.pullLimit?.now?.() ?? 0;
    for (let left = count; left > 0; left--) this.#pulls.push(at);
  }

  forgetRequests(): void {
    this.requests.length = 0;
  }

  /** Resolves as soon as a request matches, counting those that came already. */
  async waitFor(matcher: Matcher, count = 1, timeoutMs = 5_000): Promise<void> {
    const until = performance.now() + timeoutMs;
    while (this.count(matcher) < count) {
      if (performance.now() > until) throw new Error(`no such request within ${timeoutMs} ms`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** Destroys every connection and timer. The port answers no more, so this is also how an upstream goes down. */
  async close(): Promise<void> {
    this.#closed.abort(new Error("the test upstream was closed"));
    await Promise.all(
      this.#servers.map((server) => {
        const closed = new Promise<void>((resolve) => server.close(() => resolve()));
        server.closeAllConnections();
        return closed;
      }),
    );
  }

  /** After `close`: comes up again where it was, with all its content. */
  async reopen(): Promise<void> {
    this.#closed = new AbortController();
    this.#servers.length = 0;
    for (const role of ["registry", "cdn", "token"] as const) {
      await this.#listen(role, Number(new URL(this.#urls[role]).port));
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #listen(role: "registry" | "cdn" | "token", port = 0): Promise<string> {
    const server = createServer((message, response) => {
      const request = this.#record(message, role);
      this.#answer(request, response).catch((error: unknown) => {
        process.emitWarning(`test upstream: ${String(error)}`);
        response.destroy();
      });
    });
    server.keepAliveTimeout = 60_000;
    this.#servers.push(server);
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, "127.0.0.1", resolve);
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  #record(message: IncomingMessage, role: "registry" | "cdn" | "token"): RecordedRequest {
    message.resume();
    const url = new URL(message.url ?? "/", "http://upstream");
    const match = PATH.exec(decodeURIComponent(url.pathname).replace(/^\/elsewhere/, ""));
    const kinds: Record<string, RequestedKind> = {
      manifests: "manifest",
      blobs: "blob",
      tags: "tags",
      referrers: "referrers",
    };
    const ofPath = url.pathname === "/v2/" || url.pathname === "/v2" ? "ping" : (kinds[match?.[2] ?? ""] ?? "other");
    const request: RecordedRequest = {
      method: message.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: message.headers,
      kind: role === "registry" ? ofPath : role,
      repository: match?.[1],
      reference: match?.[2] === "tags" ? undefined : match?.[3],
      at: performance.now(),
      status: 0,
      bodyBytes: 0,
      outcome: "running",
    };
    this.requests.push(request);
    return request;
  }

  async #answer(request: RecordedRequest, response: ServerResponse): Promise<void> {
    const fault = takeFault(this.#rules, request);
    const planned = scripted(fault) ?? this.#redirected(request, fault) ?? this.#plan(request);
    const size = planned.content.sizeBytes;
    const range =
      planned.status === 200 && fault.ignoreRange !== true && acceptsRanges(request) && request.method === "GET";
    const asked = range ? findRange(request.headers.range, size) : undefined;
    if (asked === "unsatisfiable") {
      const refused = failure(416, "UNSUPPORTED", { "content-range": `bytes */${size}` });
      await deliver(
        request,
        response,
        { ...refused, start: 0, end: refused.content.sizeBytes },
        fault,
        this.#closed.signal,
      );
      return;
    }
    const { start, end } = asked ?? { start: 0, end: size };
    const headers = asked === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${size}` };
    const delivery = {
      status: asked === undefined ? planned.status : 206,
      headers: { ...planned.headers, ...headers },
      content: planned.content,
      start,
      end,
    };
    await deliver(request, response, delivery, fault, this.#closed.signal);
  }

  #redirected(request: RecordedRequest, fault: Fault): Planned | undefined {
    if (request.path.startsWith("/elsewhere/") || request.kind === "cdn" || request.kind === "token") return undefined;
    const target =
      fault.redirect ?? (this.options.redirectBlobs === true && request.kind === "blob" ? "cdn" : undefined);
    if (target === undefined) return undefined;
    const refused = this.tokens.challengeFor(request, this.realm);
    if (refused !== undefined) return failure(401, "UNAUTHORIZED", { "www-authenticate": refused });
    const location =
      target === "cdn"
        ? `${this.cdnUrl}${request.path}?signature=for-one-use`
        : target === "same"
          ? `/elsewhere${request.path}`
          : target.url;
    const status = typeof target === "object" ? (target.status ?? 307) : 307;
    return {
      status,
      headers: { location, "content-type": "text/html" },
      content: new BufferContent(Buffer.from("moved")),
    };
  }

  #plan(request: RecordedRequest): Planned {
    if (request.kind === "token") {
      const reply = this.tokens.issue(request);
      return {
        status: reply.status,
        headers: JSON_TYPE,
        content: new BufferContent(Buffer.from(JSON.stringify(reply.body))),
      };
    }
    if (request.method !== "GET" && request.method !== "HEAD") return failure(405, "UNSUPPORTED");
    if (request.kind === "cdn") {
      if (request.headers.authorization !== undefined) return failure(400, "ONLY_ONE_AUTH_MECHANISM_ALLOWED");
      return this.#blob(request);
    }
    const refused = this.tokens.challengeFor(request, this.realm);
    if (refused !== undefined) return failure(401, "UNAUTHORIZED", { "www-authenticate": refused });
    if (request.kind === "ping") return json({});
    if (request.kind === "manifest") return this.#manifest(request);
    if (request.kind === "blob") return this.#blob(request);
    if (request.kind === "tags") return this.#tags(request);
    if (request.kind === "referrers") return this.#referrers(request);
    return failure(404, "NAME_UNKNOWN");
  }

  #manifest(request: RecordedRequest): Planned {
    const limits = this.#countPull(request);
    if (limits.exceeded) return failure(429, "TOOMANYREQUESTS", limits.headers, PULL_LIMIT_TEXT);
    const found = this.shelves.findManifest(request.repository ?? "", request.reference ?? "");
    if (found === undefined) return failure(404, "MANIFEST_UNKNOWN", limits.headers);
    if (this.options.enforceAccept === true && !(request.headers.accept ?? "").includes(found.mediaType)) {
      return failure(404, "MANIFEST_UNKNOWN", limits.headers);
    }
    return {
      status: 200,
      headers: {
        ...limits.headers,
        "content-type": found.mediaType,
        "docker-content-digest": found.content.digest,
        etag: `"${found.content.digest}"`,
      },
      content: found.content,
    };
  }

  #countPull(request: RecordedRequest): { exceeded: boolean; headers: Record<string, string> } {
    const limit = this.options.pullLimit;
    if (limit === undefined) return { exceeded: false, headers: {} };
    const exceeded = request.method === "GET" && this.pullsUsed >= limit.limit;
    if (request.method === "GET" && !exceeded) this.countPulls(1);
    const window = `;w=${limit.windowSeconds}`;
    const headers = {
      "ratelimit-limit": `${limit.limit}${window}`,
      "ratelimit-remaining": `${Math.max(0, limit.limit - this.pullsUsed)}${window}`,
      "docker-ratelimit-source": "192.0.2.1",
    };
    return { exceeded, headers };
  }

  #blob(request: RecordedRequest): Planned {
    const content = this.shelves.find(request.repository ?? "")?.blobs.get(request.reference ?? "");
    if (content === undefined) return failure(404, "BLOB_UNKNOWN");
    const headers = {
      "content-type": "application/octet-stream",
      "docker-content-digest": content.digest,
      "accept-ranges": "bytes",
      etag: `"${content.digest}"`,
    };
    return { status: 200, headers, content };
  }

  #tags(request: RecordedRequest): Planned {
    const shelf = this.shelves.find(request.repository ?? "");
    if (shelf === undefined) return failure(404, "NAME_UNKNOWN");
    const last = request.query.get("last");
    const wanted = request.query.get("n");
    const pageSize = Math.min(wanted === null ? Infinity : Number(wanted), this.options.pageSize ?? 1000);
    const all = [...shelf.tags.keys()].sort().filter((tag) => last === null || tag > last);
    const page = all.slice(0, pageSize);
    const planned = json({ name: request.repository, tags: page });
    if (pageSize > 0 && page.length < all.length) {
      planned.headers["link"] = `<${request.path}?n=${pageSize}&last=${page.at(-1)}>; rel="next"`;
    }
    return planned;
  }

  #referrers(request: RecordedRequest): Planned {
    if (this.options.referrers === false) return failure(404, "NOT_FOUND");
    const type = request.query.get("artifactType") ?? undefined;
    const bytes = this.shelves.referrersOf(request.repository ?? "", request.reference ?? "", type);
    const headers: Record<string, string> = { "content-type": "application/vnd.oci.image.index.v1+json" };
    if (type !== undefined) headers["oci-filters-applied"] = "artifactType";
    return { status: 200, headers, content: new BufferContent(bytes) };
  }
}

const JSON_TYPE = { "content-type": "application/json" };

function json(value: unknown): Planned {
  return { status: 200, headers: { ...JSON_TYPE }, content: new BufferContent(Buffer.from(JSON.stringify(value))) };
}

/** Docker Hub's words. */
const PULL_LIMIT_TEXT =
  "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit";

function failure(
  status: number,
  code: string,
  headers: Record<string, string> = {},
  message = code.toLowerCase(),
): Planned {
  const body = JSON.stringify({ errors: [{ code, message, detail: null }] });
  return { status, headers: { ...JSON_TYPE, ...headers }, content: new BufferContent(Buffer.from(body)) };
}

function scripted(fault: Fault): Planned | undefined {
  if (fault.html === true) {
    const page = Buffer.from("<!doctype html><title>Sorry</title><h1>We will be back soon</h1>");
    return { status: fault.status ?? 200, headers: { "content-type": "text/html" }, content: new BufferContent(page) };
  }
  if (fault.status === undefined) return undefined;
  if (fault.body === undefined) return failure(fault.status, fault.status === 429 ? "TOOMANYREQUESTS" : "UNKNOWN");
  return { status: fault.status, headers: { ...JSON_TYPE }, content: new BufferContent(Buffer.from(fault.body)) };
}

function acceptsRanges(request: RecordedRequest): boolean {
  return request.kind === "blob" || request.kind === "cdn";
}

/** One range, as registries and object stores take them (RFC 9110 §14.1.2); several are ignored. */
function findRange(
  header: string | undefined,
  size: number,
): { start: number; end: number } | "unsatisfiable" | undefined {
  const match = header === undefined ? null : /^bytes=(\d*)-(\d*)$/.exec(header);
  if (match === null) return undefined;
  const [, first = "", last = ""] = match;
  if (first === "" && last === "") return undefined;
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
  return start >= size || start >= end ? "unsatisfiable" : { start, end };
}
