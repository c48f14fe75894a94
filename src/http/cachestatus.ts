/**
 * The Cache-Status header (RFC 9211) of a verdict. Pure.
 */
import type { Verdict } from "../mirror/verdict.ts";

export function cacheStatus(verdict: Verdict): string {
  switch (verdict.cache) {
    case "hit":
      return verdict.ttlMs === undefined ? "wharfinger; hit" : `wharfinger; hit; ttl=${seconds(verdict.ttlMs)}`;
    case "stale":
      return `wharfinger; hit; ttl=${seconds(verdict.ttlMs)}; detail=stale`;
    case "revalidated":
      return "wharfinger; fwd=stale; fwd-status=200; detail=unchanged";
    case "miss":
      return `wharfinger; fwd=${verdict.stale ? "stale" : "miss"}; fwd-status=200${verdict.stored ? "; stored" : ""}`;
    case "joined":
      return "wharfinger; fwd=miss; collapsed";
    case "partial":
      return "wharfinger; fwd=partial";
    case "bypass":
      return `wharfinger; fwd=bypass; detail=${verdict.why}`;
    case "absent":
      return verdict.remembered ? "wharfinger; hit; detail=absent" : "wharfinger; fwd=miss; fwd-status=404";
    case "failed": {
      const status = verdict.status === undefined ? "" : `; fwd-status=${verdict.status}`;
      return `wharfinger; fwd=miss${status}; detail=${verdict.kind}`;
    }
    case "none":
      return "wharfinger";
  }
}

function seconds(ms: number): number {
  return Math.floor(ms / 1000);
}
