/**
 * The metrics of several processes as those of one: counters, histograms and most gauges are sums, the lag of event loops
 * is the worst of them, and what a process counted before it died stays counted.
 */
import { AggregatorRegistry, type MetricObjectWithValues, type MetricValue } from "prom-client";
import type { CountedMetrics } from "./metrics.ts";

type Metric = MetricObjectWithValues<MetricValue<string>>;

/** What the dead leave: counts, and no states. */
export async function addToDead(dead: CountedMetrics, counts: CountedMetrics): Promise<CountedMetrics> {
  const kept = counts.filter((metric) => isCount(metric));
  return dead.length === 0 ? kept : await AggregatorRegistry.aggregate([dead, kept]).getMetricsAsJSON();
}

/** The exposition of all of them together. */
export async function textOf(processes: readonly CountedMetrics[]): Promise<string> {
  const told = processes.filter((metrics) => metrics.length > 0).map((metrics) => metrics.map(judged));
  return await AggregatorRegistry.aggregate(told).metrics();
}

function isCount({ type }: Metric): boolean {
  return String(type) === "counter" || String(type) === "histogram";
}

function judged(metric: Metric): Metric {
  if (/^nodejs_eventloop_lag/.test(metric.name)) return { ...metric, aggregator: "max" };
  // Each process that asks upstreams finds out for itself.
  if (metric.name === "wharfinger_upstream_circuit_state") return { ...metric, aggregator: "max" };
  if (metric.name === "process_start_time_seconds") return { ...metric, aggregator: "min" };
  return metric;
}
