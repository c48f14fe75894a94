/**
 * What talking to upstreams makes known to observers.
 */

/** What a request is for; one of the bounded label values of the metrics. */
export type RequestKind = "manifest" | "blob" | "tags" | "referrers" | "token" | "ping";

export interface UpstreamNotices {
  /** One exchange with an upstream ended its headers, or failed before; redirects and the 401 dance count one each. */
  upstreamRequest: {
    readonly upstream: string;
    readonly kind: RequestKind;
    readonly method: "GET" | "HEAD";
    /** HTTP status, or 0 where no answer came. */
    readonly status: number;
    /** From sending to the answer's headers. */
    readonly durationMs: number;
  };
  /** Body bytes received; emitted once per body, when it ends in whatever way. */
  upstreamBytes: { readonly upstream: string; readonly bytes: number };
  /** An upstream answered 429. */
  upstreamLimited: { readonly upstream: string; readonly retryAfterMs: number | undefined };
  /** `ratelimit-limit` and `ratelimit-remaining` of an answer, for the account that asked. */
  rateLimit: {
    readonly upstream: string;
    readonly account: string;
    readonly limit: number | undefined;
    readonly remaining: number | undefined;
  };
  /** The upstream, its token server or a redirect did something we refuse or that an operator should see. No secrets. */
  upstreamTrouble: { readonly upstream: string; readonly message: string; readonly detail?: unknown };
}
