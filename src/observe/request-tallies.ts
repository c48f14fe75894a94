/**
 * The metrics of answered requests, counted so that a request costs one map lookup.
 *
 * prom-client hashes label sets at every increment; here each label set is found once, and plain numbers are handed to
 * prom-client when somebody scrapes. Label values are bounded: what a client can invent becomes `other`.
 */
import { Counter, type Registry } from "prom-client";
import type { AnsweredFact } from "../mirror/notices.ts";
import { Distribution, type Series } from "./distribution.ts";

interface Tally {
  readonly request: Record<"upstream" | "kind" | "method" | "status" | "cache", string>;
  requests: number;
  bytes: number;
  readonly duration: Series;
  readonly firstByte: Series;
}

/** From a warm manifest to a blob of gigabytes over a slow line. */
export const LATENCY_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** Registers the metrics. @returns what is to be called once per answer */
export function tallyRequests(register: Registry): (fact: AnsweredFact) => void {
  const tallies = new Map<string, Tally>();
  const registers = [register];
  const duration = new Distribution({
    name: "wharfinger_request_duration_seconds",
    help: "From a request's headers to its answer's last byte",
    labelNames: ["kind", "cache"],
    buckets: LATENCY_BUCKETS,
    registers,
  });
  const firstByte = new Distribution({
    name: "wharfinger_first_byte_seconds",
    help: "From a request's headers to its answer's first byte",
    labelNames: ["kind", "cache"],
    buckets: LATENCY_BUCKETS,
    registers,
  });
  new Counter({
    name: "wharfinger_requests_total",
    help: "Answered requests",
    labelNames: ["upstream", "kind", "method", "status", "cache"],
    registers,
    collect() {
      this.reset();
      for (const { request, requests } of tallies.values()) this.inc(request, requests);
    },
  });
  new Counter({
    name: "wharfinger_response_bytes_total",
    help: "Body bytes sent to clients",
    labelNames: ["upstream", "kind", "cache"],
    registers,
    collect() {
      this.reset();
      for (const { request, bytes } of tallies.values()) {
        this.inc({ upstream: request.upstream, kind: request.kind, cache: request.cache }, bytes);
      }
    },
  });

  const open = (fact: AnsweredFact): Tally => {
    const labels = { kind: fact.kind, cache: fact.cache };
    return {
      request: {
        upstream: fact.upstream ?? "",
        kind: fact.kind,
        method: methodLabel(fact.method),
        status: statusOf(fact),
        cache: fact.cache,
      },
      requests: 0,
      bytes: 0,
      duration: duration.of(labels),
      firstByte: firstByte.of(labels),
    };
  };

  return (fact) => {
    const method = methodLabel(fact.method);
    const key = `${fact.kind} ${fact.cache} ${method} ${statusOf(fact)} ${fact.upstream ?? ""}`;
    let tally = tallies.get(key);
    if (tally === undefined) {
      tally = open(fact);
      tallies.set(key, tally);
    }
    tally.requests += 1;
    tally.bytes += fact.bytes;
    // How long a client that left would have been served says nothing.
    if (fact.aborted) return;
    tally.duration.observe(fact.totalMs / 1000);
    if (fact.firstByteMs !== undefined) tally.firstByte.observe(fact.firstByteMs / 1000);
  };
}

/** What nginx writes where the client left before the answer's end: it was not served. */
const CLIENT_CLOSED_REQUEST = "499";

function statusOf(fact: AnsweredFact): string {
  return fact.aborted ? CLIENT_CLOSED_REQUEST : statusLabel(fact.status);
}

export function methodLabel(method: string): string {
  return method === "GET" || method === "HEAD" ? method : "other";
}

/** 0 where there was no answer. */
export function statusLabel(status: number): string {
  return Number.isInteger(status) && status >= 100 && status <= 599 ? String(status) : "0";
}
