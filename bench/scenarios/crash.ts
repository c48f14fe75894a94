/**
 * The mirror is killed at random moments while clients pull random images, again and again. Nobody may ever complete a
 * wrong body, every file that is stored must match its name, and what was fetched must not be fetched again: what the
 * upstream was asked for tells.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { VirtualContent } from "../../test/kit/content.ts";
import { getHashed } from "../../test/kit/http.ts";
import { filesUnder } from "../../test/kit/residue.ts";
import { TestUpstream } from "../../test/kit/upstream.ts";
import { atLeast, atMost, exactly, percentile } from "../figures.ts";
import { startMirror } from "../mirror.ts";
import { type Bench, MIB, type Scenario } from "../scenario.ts";
import type { Served } from "../served.ts";

const CLIENTS = 20;
const IMAGES = 40;
const LAYERS = 2;
const LAYER_BYTES = { from: 4 * MIB, to: 12 * MIB };
const UPSTREAM_BYTES_PER_SECOND = 4 * MIB;
const LIFE_MS = { from: 300, to: 1500 };
/** After so many rounds all is stored, and nothing would be left to be interrupted. */
const ROUNDS_WITH_ONE_CACHE = 8;
/** What is smaller may not have been noted yet. */
const TELLING_BYTES = 2 * MIB;
const RESUMED_FROM_BYTES = MIB;
const RETRY_MS = 50;
const REPOSITORY = "bench/crash";

export const crash: Scenario = {
  name: "crash",
  measures: `killed at random moments while ${CLIENTS} clients pull random images`,
  timeoutMs: 30 * 60_000,
  async run(bench: Bench) {
    const rounds = bench.parts.quick ? 20 : 200;
    await using upstream = await TestUpstream.start();
    upstream.fault({ kind: "blob", method: "GET" }, { bytesPerSecond: UPSTREAM_BYTES_PER_SECOND });
    const images = Array.from({ length: IMAGES }, (_, image) => layersOf(image));
    for (const content of images.flat()) upstream.shelves.addBlob(REPOSITORY, content);

    const name = bench.fileName("mirror");
    const cache = join(bench.parts.dir, name, "cache");
    const start = () => startMirror({ name, dir: bench.parts.dir, upstreamUrl: upstream.url });
    const crowd = new Crowd(images);
    const ledger = new Ledger(upstream);
    const readyMs: number[] = [];
    /** By whether there was anything in the cache. */
    const emptyMs: number[] = [];
    const killedMs: number[] = [];
    const busySeconds: number[] = [];
    let damaged = 0;
    let hashed = 0;
    for (let round = 1; round <= rounds; round += 1) {
      const startedAt = performance.now();
      const mirror = bench.keep(await start());
      const tookMs = performance.now() - startedAt;
      readyMs.push(tookMs);
      (round % ROUNDS_WITH_ONE_CACHE === 1 ? emptyMs : killedMs).push(tookMs);
      busySeconds.push(mirror.daemon.cpuSeconds());
      crowd.meet(mirror);
      await sleep(between(LIFE_MS));
      await mirror.daemon.kill();
      await crowd.part();
      ledger.judge();
      if (round % ROUNDS_WITH_ONE_CACHE !== 0 && round !== rounds) {
        await ledger.expect(join(cache, "v1", "partial"));
        continue;
      }
      const found = await scrub(join(cache, "v1", "blobs"));
      damaged += found.damaged;
      hashed += found.hashed;
      ledger.forget();
      await rm(cache, { recursive: true });
    }

    const longest = `longest ${Math.max(...readyMs).toFixed(0)} ms`;
    bench.find("rounds", rounds, { digits: 0 });
    bench.find("longest start, ms", Math.max(...readyMs), { digits: 0, bar: atMost(2000) });
    bench.find("99th percentile of starts, ms", percentile(readyMs, 0.99), { digits: 0, note: longest });
    bench.find("processor time of a start, s", busySeconds);
    const ratio = percentile(killedMs, 0.5) / percentile(emptyMs, 0.5);
    bench.find("start after a kill ÷ start with an empty cache", ratio, { note: "medians" });
    bench.find("bodies that came whole", crowd.right, { digits: 0, note: `${crowd.broken} were cut by the kill` });
    bench.find("bodies that came whole and were wrong", crowd.wrong, { digits: 0, bar: exactly(0) });
    bench.find("stored files that do not match", damaged, { digits: 0, note: `of ${hashed}`, bar: exactly(0) });
    const { hadOne, resumedOne, partials, resumed, savedBytes } = ledger;
    bench.find("rounds with partials that were gone on with, %", (100 * resumedOne) / Math.max(1, hadOne), {
      digits: 1,
      note: `${resumedOne} of ${hadOne} rounds`,
      bar: atLeast(90, 99),
    });
    const note = `${resumed} of ${partials}; ${(savedBytes / MIB).toFixed(0)} MiB not fetched again`;
    bench.find("partials that were gone on with, %", (100 * resumed) / Math.max(1, partials), { digits: 1, note });
  },
};

function layersOf(image: number): VirtualContent[] {
  return Array.from({ length: LAYERS }, (_, layer) => {
    const size = LAYER_BYTES.from + ((image * 7919 + layer * 104_729) % (LAYER_BYTES.to - LAYER_BYTES.from));
    return new VirtualContent(size, 9000 + image * LAYERS + layer);
  });
}

function between({ from, to }: { readonly from: number; readonly to: number }): number {
  return from + Math.random() * (to - from);
}

/** Clients that pull images at random; who was cut off wants the same image again. */
class Crowd {
  right = 0;
  wrong = 0;
  broken = 0;
  readonly #images: readonly (readonly VirtualContent[])[];
  readonly #wanted: (readonly VirtualContent[] | undefined)[] = Array.from({ length: CLIENTS }, () => undefined);
  #over = new AbortController();
  #pulling: Promise<unknown> = Promise.resolve();

  constructor(images: readonly (readonly VirtualContent[])[]) {
    this.#images = images;
  }

  meet({ port }: Served): void {
    this.#over = new AbortController();
    const { signal } = this.#over;
    this.#pulling = Promise.all(
      this.#wanted.map(async (_, client) => {
        while (!signal.aborted) await this.#pull(client, port);
      }),
    );
  }

  /** The mirror is dead: whoever was pulling has noticed when this resolves. */
  async part(): Promise<void> {
    this.#over.abort();
    await this.#pulling;
  }

  async #pull(client: number, port: number): Promise<void> {
    const image = this.#wanted[client] ?? this.#images[Math.floor(Math.random() * this.#images.length)] ?? [];
    this.#wanted[client] = image;
    const whole = await Promise.all(
      image.map(async ({ digest }) => {
        const answer = await getHashed(`http://127.0.0.1:${port}/v2/${REPOSITORY}/blobs/${digest}`);
        if (answer.status !== 200 || !answer.complete) this.broken += 1;
        else if (answer.digest === digest) this.right += 1;
        else this.wrong += 1;
        return answer.complete;
      }),
    );
    if (whole.every(Boolean)) this.#wanted[client] = undefined;
    else await sleep(RETRY_MS);
  }
}

/** Which partial files there were at each death, and what the upstream was asked for of them afterwards. */
class Ledger {
  hadOne = 0;
  resumedOne = 0;
  partials = 0;
  resumed = 0;
  savedBytes = 0;
  readonly #upstream: TestUpstream;
  /** By hex part; those of one death stand together. */
  #expected: Set<string>[] = [];
  #resumedOf = new Map<Set<string>, number>();

  constructor(upstream: TestUpstream) {
    this.#upstream = upstream;
  }

  /** After a death. */
  async expect(directory: string): Promise<void> {
    const names = await readdir(directory);
    const large = new Set<string>();
    for (const name of names) {
      const { size } = await stat(join(directory, name));
      const hex = /-([a-f0-9]+)\./.exec(name)?.[1];
      if (hex !== undefined && size >= TELLING_BYTES) large.add(hex);
    }
    // What is still waited for from an earlier death is not another one's.
    for (const earlier of this.#expected) for (const hex of earlier) large.delete(hex);
    if (large.size > 0) this.#expected.push(large);
    this.#upstream.forgetRequests();
  }

  /** What the life that has just ended has asked for. Those that nobody asked for are waited for further. */
  judge(): void {
    const firsts = new Map<string, number>();
    for (const { reference = "", headers } of this.#upstream.matching({ kind: "blob", method: "GET" })) {
      const hex = reference.slice(7);
      if (!firsts.has(hex)) firsts.set(hex, Number(/^bytes=(\d+)-/.exec(headers.range ?? "")?.[1] ?? 0));
    }
    for (const death of this.#expected) {
      for (const hex of death) {
        const startByte = firsts.get(hex);
        if (startByte === undefined) continue;
        death.delete(hex);
        this.partials += 1;
        if (!this.#resumedOf.has(death)) this.#resumedOf.set(death, 0);
        if (startByte < RESUMED_FROM_BYTES) continue;
        this.resumed += 1;
        this.savedBytes += startByte;
        this.#resumedOf.set(death, (this.#resumedOf.get(death) ?? 0) + 1);
      }
    }
    this.#expected = this.#expected.filter(({ size }) => size > 0);
  }

  /** The cache is gone. */
  forget(): void {
    this.#expected = [];
    this.hadOne += this.#resumedOf.size;
    this.resumedOne += [...this.#resumedOf.values()].filter((count) => count > 0).length;
    this.#resumedOf = new Map();
    this.#upstream.forgetRequests();
  }
}

async function scrub(root: string): Promise<{ hashed: number; damaged: number }> {
  const names = await filesUnder(root);
  let damaged = 0;
  for (const name of names) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(join(root, name))) hash.update(chunk);
    if (!name.endsWith(hash.digest("hex"))) damaged += 1;
  }
  return { hashed: names.length, damaged };
}
