/**
 * A Prometheus histogram whose label sets are looked up once, and whose observations are two additions.
 *
 * prom-client makes a function and an object with every observation. It formats and aggregates this one as its own.
 */
import { Histogram, type HistogramConfiguration } from "prom-client";

/** One label set. */
export interface Series {
  observe(value: number): void;
}

class Buckets implements Series {
  readonly #bounds: readonly number[];
  /** Of each bucket alone; the last one is above every bound. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.counts = new Array<number>(bounds.length + 1).fill(0);
  }

  observe(value: number): void {
    let at = 0;
    while (value > (this.#bounds[at] ?? Number.POSITIVE_INFINITY)) at += 1;
    this.counts[at] = (this.counts[at] ?? 0) + 1;
    this.sum += value;
  }
}

type Labels<T extends string> = Readonly<Record<T, string>>;
type Exposition<T extends string> = Awaited<ReturnType<Histogram<T>["get"]>>;

export class Distribution<T extends string> extends Histogram<T> {
  readonly #bounds: readonly number[];
  readonly #name: string;
  /** Name, help, type and how it is aggregated. */
  readonly #empty: Promise<Exposition<T>>;
  readonly #series = new Map<string, { readonly labels: Labels<T>; readonly buckets: Buckets }>();

  constructor(configuration: HistogramConfiguration<T> & { readonly buckets: number[] }) {
    super(configuration);
    this.#bounds = configuration.buckets;
    this.#name = configuration.name;
    this.#empty = new Histogram({ ...configuration, registers: [] }).get();
  }

  /** To be kept: this is the slow part. */
  of(labels: Labels<T>): Series {
    const key = JSON.stringify(labels);
    let series = this.#series.get(key);
    if (series === undefined) {
      series = { labels, buckets: new Buckets(this.#bounds) };
      this.#series.set(key, series);
    }
    return series.buckets;
  }

  override async get(): Promise<Exposition<T>> {
    const values: Exposition<T>["values"] = [];
    const name = this.#name;
    for (const { labels, buckets } of this.#series.values()) {
      let count = 0;
      buckets.counts.forEach((own, at) => {
        count += own;
        const le = this.#bounds[at] ?? "+Inf";
        values.push({ metricName: `${name}_bucket`, labels: { le, ...labels }, value: count });
      });
      values.push({ metricName: `${name}_sum`, labels, value: buckets.sum });
      values.push({ metricName: `${name}_count`, labels, value: count });
    }
    return { ...(await this.#empty), values };
  }

  /** What prom-client asks for the text format; it need not be another. */
  getForPromString(): Promise<Exposition<T>> {
    return this.get();
  }
}
