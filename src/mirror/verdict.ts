/**
 * How the cache took part in an answer. The front writes it as `Cache-Status` (RFC 9211), the metrics as a label.
 */
import type { Failure } from "../base/failure.ts";
import type { CacheLabel } from "./notices.ts";

export type StaleReason = "unreachable" | "limited" | "refreshing" | "offline" | "other";

/** Why what is stored is served instead. */
export function reasonOf({ kind }: Failure): StaleReason {
  return kind === "limited" || kind === "unreachable" ? kind : "other";
}

export type Verdict =
  /** From the store, no upstream asked. `ttlMs` is how long a tag stays fresh. */
  | { readonly cache: "hit"; readonly ttlMs?: number }
  /** From the store, after the upstream confirmed it just now. */
  | { readonly cache: "revalidated" }
  /** From the store, too old by `-ttlMs`, and why it was served all the same. */
  | { readonly cache: "stale"; readonly ttlMs: number; readonly reason: StaleReason }
  /** From the upstream. `stale`: something older was stored before. */
  | { readonly cache: "miss"; readonly stored: boolean; readonly stale?: boolean }
  /** From the upstream, by a request that already ran for somebody else. */
  | { readonly cache: "joined" }
  /** A range that went to the upstream, because the running fill is far from it. */
  | { readonly cache: "partial" }
  /** From the upstream and not kept. */
  | { readonly cache: "bypass"; readonly why: string }
  /** The upstream (or our memory of its answer) has no such thing. */
  | { readonly cache: "absent"; readonly remembered: boolean }
  /** The upstream was asked, and failed. */
  | { readonly cache: "failed"; readonly kind: string; readonly status?: number }
  /** Answered without the cache: pings, errors in the request. */
  | { readonly cache: "none" };

export function cacheLabel(verdict: Verdict): CacheLabel {
  if (verdict.cache === "absent") return verdict.remembered ? "hit" : "miss";
  return verdict.cache === "failed" ? "miss" : verdict.cache;
}
