/**
 * What talking to upstreams makes known to observers.
 */
import type { CircuitState } from "./endpoints/circuit.ts";

/** What a request is for; one of the bounded label values of the metrics. */
export type RequestKind = "manifest" | "blob" | "tags" | "referrers" | "token" | "ping";

export interface UpstreamNotices {
  /** One exchange with an upstream ended its headers, or failed before; redirects and the 401 dance count one each. */
  upstreamRequest: {
    readonly upstream: string;
    readonly kind: RequestKind;
    readonly method: "GET" | "HEAD" | "POST";
    /** HTTP status, or 0 where no answer came. */
    readonly status: number;
    /** From sending to the answer's headers. */
    readonly durationMs: number;
  };
  /** Body bytes received; emitted once per body, when it ends in whatever way. */
  upstreamBytes: { readonly upstream: string; readonly bytes: number };
  /** A question is asked again after a failure that passes. */
  upstreamRetried: { readonly upstream: string; readonly reason: string };
  /** An endpoint stopped answering, or answers again. */
  upstreamCircuit: {
    readonly upstream: string;
    /** Origin of its API. */
    readonly endpoint: string;
    readonly state: CircuitState;
    /** Of all endpoints of the upstream, the best. */
    readonly best: CircuitState;
    /** How it failed last; undefined where it answers, or was silent. */
    readonly reason?: string | undefined;
  };
  /** An upstream answered 429. */
  upstreamLimited: {
    readonly upstream: string;
    readonly account?: string;
    readonly retryAfterMs: number | undefined;
  };
  /** A question that we did not ask, for the upstream allows us no more. */
  upstreamWithheld: { readonly upstream: string };
  /** An account's credentials were refused, told anew after each showing; or accepted after they had been refused. */
  accountJudged: { readonly upstream: string; readonly account: string; readonly verdict: "refused" | "accepted" };
  /** What an answer says of limits, for the account that asked. */
  rateLimit: {
    readonly upstream: string;
    readonly account: string;
    readonly limit: number | undefined;
    readonly remaining: number | undefined;
    /** Whom the upstream counts (`docker-ratelimit-source`): an address or an account's id. */
    readonly source?: string | undefined;
    /** In how many milliseconds the window turns, where that is said. */
    readonly resetMs?: number | undefined;
  };
  /** The upstream, its token server or a redirect did something we refuse or that an operator should see. No secrets. */
  upstreamTrouble: {
    readonly upstream: string;
    readonly message: string;
    /** Of ours, where it was one that asked. */
    readonly account?: string;
    readonly detail?: unknown;
  };
}
