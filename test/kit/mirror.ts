/**
 * A whole mirror in this process, on loopback, in front of test upstreams; with a look into its cache directory. It is
 * served as the mode of the run has it, unless its configuration says how.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { createMirror, type Mirror, type MirrorOptions } from "../../src/app.ts";
import { type Config, schema, servesTls } from "../../src/config/schema.ts";
import { KEPT_FROM_BYTES } from "../../src/mirror/fillpolicy.ts";
import type { AnsweredFact } from "../../src/mirror/notices.ts";
import { get } from "./http.ts";
import { pemPath, tlsOfMode } from "./mode.ts";
import { filesUnder } from "./residue.ts";
import { makeTempDir, type TempDir } from "./temp.ts";
import type { TestUpstream } from "./upstream.ts";

/** `WHARFINGER_TEST_WORKERS=2` runs the flows against mirrors of so many processes. */
export const TEST_WORKERS = Number(process.env["WHARFINGER_TEST_WORKERS"] ?? 1);

export interface TestMirrorOptions extends Partial<MirrorOptions> {
  /** By name in image references; the first one is the default. */
  readonly upstreams: Readonly<Record<string, TestUpstream | string>>;
  /** Settings of every upstream. */
  readonly upstream?: Readonly<Record<string, unknown>>;
  /** Settings of single upstreams. */
  readonly each?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Everything else of the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** A cache directory of an earlier mirror; it is not removed then. */
  readonly dir?: string;
  /** Called before it starts, for facts of the start itself. */
  readonly observe?: (mirror: Mirror) => void;
}

export class TestMirror {
  readonly url: string;
  readonly adminUrl: string;
  readonly mirror: Mirror;
  readonly dir: string;
  readonly answered: AnsweredFact[] = [];
  /** What was wrong with certificates, from the start on. */
  readonly troubles: string[];
  readonly #temp: TempDir | undefined;

  private constructor(
    mirror: Mirror,
    dir: string,
    temp: TempDir | undefined,
    url: string,
    adminUrl: string,
    troubles: string[],
  ) {
    this.troubles = troubles;
    this.mirror = mirror;
    this.dir = dir;
    this.url = url;
    this.adminUrl = adminUrl;
    this.#temp = temp;
    mirror.notices.on("answered", (fact) => this.answered.push(fact));
  }

  static async start(options: TestMirrorOptions): Promise<TestMirror> {
    const temp = options.dir === undefined ? await makeTempDir("mirror") : undefined;
    const dir = options.dir ?? temp?.path ?? "";
    const config = configOf(options, dir);
    const mirror = await createMirror(config, { log: false, ...options });
    const troubles: string[] = [];
    mirror.notices.on("certificateTrouble", ({ message }) => troubles.push(message));
    options.observe?.(mirror);
    const { registry, admin } = await mirror.start();
    const scheme = servesTls(config.tls) ? "https" : "http";
    const url = `${scheme}://127.0.0.1:${registry.port}`;
    return new TestMirror(mirror, dir, temp, url, `http://127.0.0.1:${admin.port}`, troubles);
  }

  /** Files of running ingests, of those that are kept, and of any that were left behind. */
  partials(): Promise<string[]> {
    return filesUnder(join(this.dir, "v1", "partial"));
  }

  /** Sizes of these files, by the digests' hex parts. */
  async keptBytes(): Promise<Map<string, number>> {
    const sizes = new Map<string, number>();
    for (const name of await this.partials()) {
      const stats = await stat(join(this.dir, "v1", "partial", name)).catch(() => undefined);
      if (stats !== undefined) sizes.set(/-([a-f0-9]+)/.exec(name)?.[1] ?? name, stats.size);
    }
    return sizes;
  }

  /** Digests' hex parts of what is stored. */
  async stored(): Promise<string[]> {
    return (await filesUnder(join(this.dir, "v1", "blobs"))).map((path) => path.split("/").at(-1) ?? "");
  }

  /** Resolves when no ingest runs any more: no partial file is left but those that are kept. */
  async settled(timeoutMs = 10_000): Promise<void> {
    const isSettled = async () => {
      const sizes = [...(await this.keptBytes()).values()];
      if (sizes.length === 0) return true;
      if (sizes.some((bytes) => bytes < KEPT_FROM_BYTES)) return false;
      const metrics = await get(`${this.adminUrl}/metrics`);
      return /^wharfinger_fills_active 0$/m.test(metrics.body.toString());
    };
    await this.until(isSettled, "partial files are still there", timeoutMs);
  }

  async until(holds: () => Promise<boolean> | boolean, complaint: string, timeoutMs = 10_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(complaint);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.mirror.stop();
    await this.#temp?.[Symbol.asyncDispose]();
  }
}

function configOf(options: TestMirrorOptions, dir: string): Config {
  const names = Object.keys(options.upstreams);
  const upstreams = Object.fromEntries(
    Object.entries(options.upstreams).map(([name, upstream]) => {
      const url = typeof upstream === "string" ? upstream : upstream.url;
      // A mirror of the same run, as another one's upstream.
      const tls = url.startsWith("https://127.0.0.1") ? { ca: pemPath("server") } : undefined;
      return [name, { url, allowPrivate: true, tls, ...options.upstream, ...options.each?.[name] }];
    }),
  );
  return schema.parse({
    listen: "127.0.0.1:0",
    admin: { listen: "127.0.0.1:0" },
    defaultUpstream: names[0],
    upstreams,
    tls: tlsOfMode(),
    workers: TEST_WORKERS,
    ...options.config,
    cache: { dir, minFree: 0, ...(options.config?.["cache"] as object | undefined) },
  });
}
