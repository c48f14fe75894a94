/**
 * The metrics: facts as Prometheus counters, gauges and histograms, in a registry of their own.
 *
 * Label values are bounded: upstreams come from the configuration, everything else from closed sets. What is a state
 * (the cache's size) is asked for when somebody scrapes.
 */
import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  Histogram,
  type MetricObjectWithValues,
  type MetricValue,
  Registry,
} from "prom-client";
import type { Notices } from "../base/notices.ts";
import type { Need } from "../mirror/admission.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { CircuitState } from "../upstream/endpoints/circuit.ts";
import { LATENCY_BUCKETS, methodLabel, statusLabel, tallyRequests } from "./request-tallies.ts";
import { tallyTruth } from "./truth-metrics.ts";

/** States that no fact tells. Called at every scrape; must not throw. */
export interface MetricGauges {
  cacheSizeBytes(): number;
  cacheMaxBytes(): number;
  cacheBlobs(): number;
  cacheFreeBytes(): number;
}

/** The values of one process, for another to add up. */
export type CountedMetrics = MetricObjectWithValues<MetricValue<string>>[];

export interface Metrics {
  values(): Promise<CountedMetrics>;
  /** The exposition of all metrics, in `contentType`. */
  text(): Promise<string>;
  readonly contentType: string;
  /** Ends the subscriptions. */
  stop(): void;
}

export interface MetricsParts {
  readonly notices: Notices<MirrorNotices>;
  /** Undefined in a process that does not own the cache. */
  readonly gauges: MetricGauges | undefined;
  /** Those that have series from the start, each with the number of its endpoints. */
  readonly upstreams?: ReadonlyMap<string, number>;
}

/** Why a fill was resumed, as far as it can be told in one of few words: reasons are free text. */
const RETRY_REASONS: readonly (readonly [label: string, words: RegExp])[] = [
  ["refused", /refuses connections|ECONNREFUSED/],
  ["timeout", /time(?:d )?.?out|too slow|idle|stall/i],
  ["limited", /\b(?:answered|status:?) 429\b|limits our|limited/i],
  ["status", /status|\b(?:answered|status:?) [45]\d\d\b/i],
  ["short", /short|early|truncat|premature|ended/i],
  ["reset", /reset|closed|hang up|abort|EPIPE|socket|terminated/i],
];

const CIRCUIT_STATES: readonly CircuitState[] = ["closed", "slow", "open"];

export function createMetrics({ notices, gauges, upstreams = new Map() }: MetricsParts): Metrics {
  const register = new Registry();
  const registers = [register];
  collectDefaultMetrics({ register });

  const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Counter({ name: `wharfinger_${name}`, help, labelNames, registers });
  const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Gauge({ name: `wharfinger_${name}`, help, labelNames, registers });
  const asked = (name: string, help: string, ask: () => number) =>
    new Gauge({
      name: `wharfinger_${name}`,
      help,
      registers,
      collect() {
        this.set(ask());
      },
    });

  const answered = tallyRequests(register);
  const requests = counter("upstream_requests_total", "Requests to upstreams", "upstream", "kind", "method", "status");
  const bytes = counter("upstream_bytes_total", "Body bytes received from upstreams", "upstream");
  const duration = new Histogram({
    name: "wharfinger_upstream_duration_seconds",
    help: "From a request to an upstream to its answer's headers",
    labelNames: ["upstream", "kind"],
    buckets: LATENCY_BUCKETS,
    registers,
  });
  const retries = counter("upstream_retries_total", "Requests to upstreams made again", "upstream", "reason");
  const circuit = gauge(
    "upstream_circuit_state",
    "Whether the upstream's best endpoint is asked: 0 yes, 1 slow, 2 not",
    "upstream",
  );
  const up = gauge("upstream_endpoints_up", "Endpoints of an upstream that answer", "upstream");
  const down = new Map<string, Set<string>>();
  for (const [upstream, endpoints] of upstreams) {
    circuit.set({ upstream }, 0);
    up.set({ upstream }, endpoints);
  }
  const refusals = counter("upstream_refusals_total", "Refusals of an account's credentials", "upstream", "account");
  const withheld = counter(
    "ratelimit_withheld_total",
    "Questions that were not asked, for the upstream's limit is used up",
    "upstream",
  );
  const limit = gauge("ratelimit_limit", "Pulls that the upstream allows", "upstream", "account");
  const remaining = gauge("ratelimit_remaining", "Pulls that the upstream still allows", "upstream", "account");
  const rejections = counter("ratelimit_rejections_total", "Answers 429 of upstreams", "upstream");
  const fills = gauge("fills_active", "Blobs being fetched");
  const followers = gauge("followers_active", "Clients reading blobs that are being fetched");
  const resumes = counter("fill_resumes_total", "Fetches resumed after a break", "upstream");
  const kept = counter("fill_kept_bytes_total", "Bytes an earlier fetch had left, not fetched again", "upstream");
  const mismatches = counter("digest_mismatches_total", "Bodies whose bytes do not match their digest", "upstream");
  const storageErrors = counter("storage_errors_total", "Failures of the disk or the index", "errno");
  const degraded = gauge("storage_degraded", "Whether the disk or the index is in trouble, and nothing new is stored");
  const rescues = counter("answers_rescued_total", "Answers that went on from the upstream when their file failed");
  const workerEnds = counter("worker_ends_total", "Processes that answered clients and died");
  const evictedBytes = counter("evicted_bytes_total", "Bytes that left the cache to make room", "reason");
  const evictedBlobs = counter("evicted_blobs_total", "Blobs that left the cache to make room", "reason");
  const stale = counter("stale_served_total", "Answers older than their freshness allows", "upstream", "reason");
  const warmRuns = counter("warm_runs_total", "Runs that fetched images ahead of demand", "outcome");
  const warmImages = counter("warm_images_total", "Images fetched ahead of demand", "outcome");
  const warmBytes = counter("warm_fetched_bytes_total", "Bytes fetched ahead of demand");
  const warmAt = gauge("warm_last_success_timestamp_seconds", "When a run last had all of its images");
  if (gauges !== undefined) {
    asked("cache_size_bytes", "Bytes of what is stored", () => gauges.cacheSizeBytes());
    asked("cache_max_bytes", "Upper limit of cache_size_bytes", () => gauges.cacheMaxBytes());
    asked("cache_blobs", "Blobs that are stored, manifests included", () => gauges.cacheBlobs());
    asked("cache_free_bytes", "Free space of the cache's file system", () => gauges.cacheFreeBytes());
    for (const reason of ["size", "free-space", "upstream-share"] satisfies Need[]) {
      evictedBytes.inc({ reason }, 0);
      evictedBlobs.inc({ reason }, 0);
    }
  }

  const ends = [
    notices.on("answered", answered),
    notices.on("upstreamRequest", ({ upstream, kind, method, status, durationMs }) => {
      requests.inc({ upstream, kind, method: methodLabel(method), status: statusLabel(status) });
      duration.observe({ upstream, kind }, durationMs / 1000);
    }),
    notices.on("upstreamBytes", (fact) => bytes.inc({ upstream: fact.upstream }, fact.bytes)),
    notices.on("upstreamRetried", ({ upstream, reason }) => retries.inc({ upstream, reason: retryReason(reason) })),
    notices.on("upstreamCircuit", ({ upstream, endpoint, state, best }) => {
      circuit.set({ upstream }, CIRCUIT_STATES.indexOf(best));
      const lost = down.get(upstream) ?? new Set();
      down.set(upstream, lost);
      if (state === "open") lost.add(endpoint);
      else lost.delete(endpoint);
      const all = upstreams.get(upstream);
      if (all !== undefined) up.set({ upstream }, all - lost.size);
    }),
    notices.on("accountJudged", ({ upstream, account, verdict }) => {
      if (verdict === "refused") refusals.inc({ upstream, account });
    }),
    notices.on("upstreamWithheld", ({ upstream }) => withheld.inc({ upstream })),
    notices.on("upstreamLimited", ({ upstream }) => rejections.inc({ upstream })),
    notices.on("rateLimit", (fact) => {
      const labels = { upstream: fact.upstream, account: fact.account };
      if (fact.limit !== undefined) limit.set(labels, fact.limit);
      if (fact.remaining !== undefined) remaining.set(labels, fact.remaining);
    }),
    notices.on("fillStarted", () => fills.inc()),
    notices.on("fillEnded", () => fills.dec()),
    notices.on("fillResumed", ({ upstream, reason }) => {
      resumes.inc({ upstream });
      retries.inc({ upstream, reason: retryReason(reason) });
    }),
    notices.on("fillTakenUp", ({ upstream, atByte }) => kept.inc({ upstream }, atByte)),
    notices.on("followerOpened", () => followers.inc()),
    notices.on("followerClosed", () => followers.dec()),
    notices.on("storageFailed", ({ errno }) => storageErrors.inc({ errno })),
    notices.on("storageDegraded", () => degraded.set(1)),
    notices.on("storageHealed", () => degraded.set(0)),
    notices.on("answerRescued", () => rescues.inc()),
    ...tallyTruth(register, notices),
    notices.on("workerEnded", () => workerEnds.inc()),
    notices.on("warmed", ({ images, failedImages, fetchedBytes, brokenOff }) => {
      const outcome = brokenOff ? "broken off" : failedImages > 0 ? "failed" : "done";
      warmRuns.inc({ outcome });
      warmImages.inc({ outcome: "done" }, images - failedImages);
      warmImages.inc({ outcome: "failed" }, failedImages);
      warmBytes.inc(fetchedBytes);
      if (outcome === "done") warmAt.setToCurrentTime();
    }),
    notices.on("digestMismatch", ({ upstream }) => mismatches.inc({ upstream })),
    notices.on("evicted", ({ reason, blobs, bytes }) => {
      evictedBytes.inc({ reason }, bytes);
      evictedBlobs.inc({ reason }, blobs);
    }),
    notices.on("staleServed", ({ upstream, reason }) => stale.inc({ upstream, reason })),
  ];

  return {
    values: () => register.getMetricsAsJSON(),
    text: () => register.metrics(),
    contentType: register.contentType,
    stop() {
      for (const end of ends) end();
    },
  };
}

function retryReason(reason: string): string {
  return RETRY_REASONS.find(([, words]) => words.test(reason))?.[0] ?? "other";
}
