/**
 * What can be made to go wrong in an answer of the test upstream, and for which requests.
 *
 * All offsets named `…AfterBytes` count the body of one answer; `flipAtByte` counts the whole content, so that a wrong
 * byte stays wrong when a range asks for it again.
 */
import type { IncomingHttpHeaders } from "node:http";

export type RequestedKind = "ping" | "manifest" | "blob" | "tags" | "referrers" | "token" | "cdn" | "other";

/** One request that the upstream, its CDN or its token server received. */
export interface RecordedRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly kind: RequestedKind;
  readonly repository: string | undefined;
  /** Tag or digest. */
  readonly reference: string | undefined;
  /** Milliseconds on the monotonic clock (`performance.now()`). */
  readonly at: number;
  /** 0 until answered. */
  status: number;
  bodyBytes: number;
  outcome: "running" | "complete" | "broken by us" | "left by the client";
}

/** Which requests; what is left out matches all. */
export interface Matching {
  readonly method?: string;
  readonly kind?: RequestedKind;
  readonly repository?: string;
  /** Tag or digest. */
  readonly reference?: string;
  /** True: only requests with a `Range` header; false: only those without. */
  readonly ranged?: boolean;
}

export type Matcher = Matching | ((request: RecordedRequest) => boolean);

export interface Fault {
  /** Answers this status with an error body instead of what was asked for. */
  readonly status?: number;
  /** The body to go with `status`; default an OCI error envelope. */
  readonly body?: string | Buffer;
  /** Answers (with `status`, else 200) a page of HTML. */
  readonly html?: boolean;
  /** `Retry-After`, as it is. */
  readonly retryAfter?: string;
  /** Added to the answer, or taken from it where undefined. */
  readonly headers?: Readonly<Record<string, string | undefined>>;
  readonly contentType?: string;
  readonly omitDigestHeader?: boolean;
  /** `Transfer-Encoding: chunked` instead of a length. */
  readonly omitContentLength?: boolean;
  /** Answers a range as if none had been asked for. */
  readonly ignoreRange?: boolean;
  /** 307 to the CDN, to another path of the same origin, or to a URL. */
  readonly redirect?: "cdn" | "same" | { readonly url: string; readonly status?: number };
  readonly delayHeadersMs?: number;
  readonly delayBodyMs?: number;
  readonly bytesPerSecond?: number;
  /** Destroys the socket instead of answering at all. */
  readonly dropConnection?: boolean;
  readonly cutAfterBytes?: number;
  /** Sends nothing more, and keeps the connection. */
  readonly stallAfterBytes?: number;
  readonly flipAtByte?: number;
  /** More bytes than the content has; the length header counts them. */
  readonly trailingBytes?: number;
  /** Fewer bytes than the content has; the length header is truthful about the body. */
  readonly missingBytes?: number;
  /** Held until the test lets it go. */
  readonly gate?: Gate;
}

/** Holds answers at one place until the test releases them; once released it holds nothing. */
export class Gate {
  /** How many body bytes pass before the gate holds; "headers" holds before the status line. */
  readonly afterBytes: number | "headers";
  readonly #reached = Promise.withResolvers<void>();
  readonly #released = Promise.withResolvers<void>();
  #waiting = 0;

  constructor(afterBytes: number | "headers") {
    this.afterBytes = afterBytes;
  }

  /** Resolves when the first answer has come to the gate. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  /** How many answers have come to the gate. */
  get arrivals(): number {
    return this.#waiting;
  }

  release(): void {
    this.#released.resolve();
  }

  pass(): Promise<void> {
    this.#waiting += 1;
    this.#reached.resolve();
    return this.#released.promise;
  }
}

export interface FaultRule {
  readonly matcher: Matcher;
  readonly fault: Fault;
  /** Applies to so many more requests. */
  left: number;
  /** Lets so many more requests pass first. */
  skip: number;
}

export function matches(matcher: Matcher, request: RecordedRequest): boolean {
  if (typeof matcher === "function") return matcher(request);
  return (
    (matcher.method === undefined || matcher.method === request.method) &&
    (matcher.kind === undefined || matcher.kind === request.kind) &&
    (matcher.repository === undefined || matcher.repository === request.repository) &&
    (matcher.reference === undefined || matcher.reference === request.reference) &&
    (matcher.ranged === undefined || matcher.ranged === (request.headers.range !== undefined))
  );
}

/** Merges the faults of all rules that apply to the request, the latest first, and counts them down. */
export function takeFault(rules: readonly FaultRule[], request: RecordedRequest): Fault {
  let merged: Fault = {};
  for (const rule of rules) {
    if (rule.left <= 0 || !matches(rule.matcher, request)) continue;
    if (rule.skip > 0) {
      rule.skip -= 1;
      continue;
    }
    rule.left -= 1;
    merged = { ...merged, ...rule.fault };
  }
  return merged;
}
