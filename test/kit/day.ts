/**
 * A day of builds: runners that pull the same tags every few minutes, as containerd does (HEAD of the tag, GET of the index
 * and of one platform's manifest by digest, its blobs), from something in front of a registry that limits pulls as Docker
 * Hub does; tags that change now and then, once many of them together, and others who spend from the same limit.
 *
 * The registry's clock is the day's; whatever is in front may have it too. The same seed is the same day.
 */
import { Agent, request } from "node:http";
import type { ManualClock } from "./clock.ts";
import { makeImage, makeIndex } from "./image.ts";
import { TestUpstream } from "./upstream.ts";

export interface DayPlan {
  readonly runners: number;
  /** They keep what they pulled, and ask by HEAD alone whether it is still what the tag names. Default: they start empty. */
  readonly keeps?: boolean;
  readonly tags: number;
  /** Pulls of a manifest in six hours. */
  readonly limit: number;
  readonly hours: number;
  readonly everyMinutes: number;
  /** A tag changes about so often. */
  readonly changeEveryMinutes: number;
  /** So many tags change at once, in the hour given. */
  readonly burst: { readonly atHour: number; readonly tags: number };
  /** In these hours there are more of them. */
  readonly crowd?: { readonly atHours: readonly number[]; readonly runners: number };
  /** So many pulls are others', in the hour given. */
  readonly others: { readonly atHour: number; readonly pulls: number };
}

export interface DayFigures {
  pulls: number;
  failedPulls: number;
  /** What the first failed pull met. */
  firstFailure: string | undefined;
  /** Digests that runners may ask for: of each version of a tag its index, and the manifest of their platform. */
  published: number;
  /** Of manifests, at the registry. */
  gets: number;
  heads: number;
  refusals: number;
  /** How long a change took to reach a runner, in minutes; of those that did. */
  readonly delays: number[];
  /** Changes that no runner had seen at the end, and that had not been replaced by then. */
  unseen: number;
}

export const REPOSITORY = "library/demo";
export const WINDOW_SECONDS = 21_600;
const MINUTE_MS = 60_000;
/** Images that one runner pulls at the same time. */
const AT_ONCE = 4;

export class Day implements AsyncDisposable {
  readonly plan: DayPlan;
  readonly clock: ManualClock;
  readonly upstream: TestUpstream;
  readonly figures: DayFigures = {
    pulls: 0,
    failedPulls: 0,
    firstFailure: undefined,
    published: 0,
    gets: 0,
    heads: 0,
    refusals: 0,
    delays: [],
    unseen: 0,
  };
  /** The current version of each tag, until a runner has it. */
  readonly #unseen = new Map<string, { readonly digest: string; readonly since: number }>();
  /** Digests that each runner has. */
  readonly #kept = new Map<number, Set<string>>();
  #versions = 0;
  #random = 1;

  private constructor(plan: DayPlan, clock: ManualClock, upstream: TestUpstream) {
    this.plan = plan;
    this.clock = clock;
    this.upstream = upstream;
    for (const tag of this.tags) this.#publish(tag);
    this.#unseen.clear();
  }

  static async start(plan: DayPlan, clock: ManualClock): Promise<Day> {
    const pullLimit = { limit: plan.limit, windowSeconds: WINDOW_SECONDS, now: () => clock.now() };
    return new Day(plan, clock, await TestUpstream.start({ pullLimit }));
  }

  get tags(): string[] {
    return Array.from({ length: this.plan.tags }, (_, at) => `v${at + 1}`);
  }

  /**
   * @param url of what the runners pull from.
   * @param onRound called after each round, when what it set off at the registry has come to rest.
   */
  async run(url: string, onRound: (minute: number) => void = () => {}): Promise<DayFigures> {
    const { plan, clock } = this;
    const { crowd } = plan;
    const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE * Math.max(plan.runners, crowd?.runners ?? 0) });
    try {
      for (let minute = 0; minute < plan.hours * 60; minute += plan.everyMinutes) {
        this.#change(minute - plan.everyMinutes, minute);
        const isCrowded = crowd?.atHours.includes(minute / 60) === true;
        const length = isCrowded ? crowd.runners : plan.runners;
        await Promise.all(Array.from({ length }, (_, at) => this.#runner(url, agent, at)));
        await this.#rest();
        onRound(minute);
        await clock.advance(plan.everyMinutes * MINUTE_MS);
      }
    } finally {
      agent.destroy();
    }
    this.#count();
    this.figures.unseen = this.#unseen.size;
    return this.figures;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.upstream.close();
  }

  /** What happens in the minutes before a round; the same however often there are rounds. */
  #change(since: number, until: number): void {
    const { changeEveryMinutes, burst, others } = this.plan;
    const tags = this.tags;
    for (let minute = Math.max(1, since + 1); minute <= until; minute++) {
      if (minute === burst.atHour * 60) for (const tag of tags.slice(0, burst.tags)) this.#publish(tag);
      if (minute === others.atHour * 60) this.upstream.countPulls(others.pulls);
      if (this.#next() < 1 / changeEveryMinutes) {
        this.#publish(tags[Math.floor(this.#next() * tags.length)] ?? "v1");
      }
    }
  }

  #publish(tag: string): void {
    this.#versions += 1;
    const images = ["amd64", "arm64"].map((architecture, at) =>
      makeImage({ layers: [100], seed: this.#versions * 2 + at, architecture }),
    );
    const index = makeIndex(images);
    this.upstream.shelves.add(REPOSITORY, index, tag);
    this.figures.published += 2;
    this.#unseen.set(tag, { digest: index.digest, since: this.clock.now() });
  }

  async #runner(url: string, agent: Agent, number: number): Promise<void> {
    const tags = this.tags;
    // Not all at the same one at the same time.
    const waiting = tags.map((_, at) => tags[(at + number) % tags.length] ?? "v1");
    const pullNext = async () => {
      for (let tag = waiting.shift(); tag !== undefined; tag = waiting.shift()) {
        await this.#pull(url, agent, tag, number);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, pullNext));
  }

  async #pull(url: string, agent: Agent, tag: string, runner: number): Promise<void> {
    this.figures.pulls += 1;
    const kept = this.#kept.get(runner) ?? new Set();
    if (this.plan.keeps === true) this.#kept.set(runner, kept);
    try {
      const base = `${url}/v2/${REPOSITORY}`;
      const head = await ask("HEAD", `${base}/manifests/${tag}`, agent);
      const digest = String(head.headers["docker-content-digest"]);
      if (kept.has(digest)) return;
      const index = JSON.parse((await ask("GET", `${base}/manifests/${digest}`, agent)).body) as Named;
      const image = index.manifests?.find(({ platform }) => platform?.architecture === "amd64")?.digest;
      const content = JSON.parse((await ask("GET", `${base}/manifests/${image}`, agent)).body) as Named;
      for (const blob of [content.config, ...(content.layers ?? [])])
        await ask("GET", `${base}/blobs/${blob?.digest}`, agent);
      kept.add(digest);
      const unseen = this.#unseen.get(tag);
      if (unseen?.digest !== digest) return;
      this.figures.delays.push((this.clock.now() - unseen.since) / MINUTE_MS);
      this.#unseen.delete(tag);
    } catch (error) {
      this.figures.failedPulls += 1;
      this.figures.firstFailure ??= `${tag}: ${String(error)}`;
    }
  }

  /** Until the registry has been asked nothing for a while: deadlines on the day's clock must not run out by its leaps. */
  async #rest(): Promise<void> {
    const { requests } = this.upstream;
    let quiet = 0;
    for (let seen = -1; quiet < 3; ) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      const running = requests.some(({ outcome }) => outcome === "running");
      quiet = running || requests.length !== seen ? 0 : quiet + 1;
      seen = requests.length;
    }
    this.#count();
  }

  #count(): void {
    const { upstream, figures } = this;
    figures.gets += upstream.count({ kind: "manifest", method: "GET" });
    figures.heads += upstream.count({ kind: "manifest", method: "HEAD" });
    figures.refusals += upstream.matching({ kind: "manifest" }).filter(({ status }) => status === 429).length;
    upstream.forgetRequests();
  }

  /** mulberry32: good enough for which tag is next. */
  #next(): number {
    this.#random = (this.#random + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#random ^ (this.#random >>> 15), this.#random | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }
}

interface Named {
  readonly manifests?: readonly { readonly digest: string; readonly platform?: { readonly architecture?: string } }[];
  readonly config?: { readonly digest: string };
  readonly layers?: readonly { readonly digest: string }[];
}

const ACCEPT = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "*/*",
].join(", ");

function ask(method: "GET" | "HEAD", url: string, agent: Agent) {
  return new Promise<{ body: string; headers: NodeJS.Dict<string | string[]> }>((resolve, reject) => {
    const sent = request(url, { method, agent, headers: { accept: ACCEPT } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        if (response.statusCode === 200) resolve({ body, headers: response.headers });
        else reject(new Error(`${method} ${new URL(url).pathname} ${response.statusCode} ${body.slice(0, 120)}`));
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}
