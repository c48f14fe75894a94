/**
 * The mirror as its users run it: a process of its own, everything as shipped, with its log in a file. Every one starts
 * with an empty cache.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../test/e2e/processes.ts";
import { get } from "../test/kit/http.ts";
import { Daemon } from "./daemon.ts";
import type { Certificate } from "./secure.ts";
import { registryPaths, type Served } from "./served.ts";

export interface MirrorOptions {
  readonly name: string;
  readonly dir: string;
  readonly upstreamUrl: string;
  readonly core?: number | string | undefined;
  /** How tables call it; default mirror. */
  readonly label?: string | undefined;
  /** Keys of the configuration that differ from what is shipped. */
  readonly settings?: MirrorSettings | undefined;
  /** Where to leave a processor profile when it stops. */
  readonly profileDir?: string | undefined;
}

export interface MirrorSettings {
  readonly sendfile?: boolean;
  /** Default 1: it is one process that is compared with one. */
  readonly workers?: number;
  readonly tls?: Certificate;
  /** Connections for one blob from the upstream. */
  readonly segments?: number;
  readonly freshness?: Readonly<Record<string, string>>;
  /** Besides its directory. */
  readonly cache?: Readonly<Record<string, string | number>>;
}

const MAIN = join(import.meta.dirname, "../dist/cli/main.js");

export async function startMirror(options: MirrorOptions): Promise<Served & { readonly adminPort: number }> {
  const port = await freePort();
  const adminPort = await freePort();
  const home = join(options.dir, options.name);
  await mkdir(home, { recursive: true });
  const { segments, freshness, cache, workers = 1, ...settings } = options.settings ?? {};
  const upstream = { url: options.upstreamUrl, allowPrivate: true, ...definedOf({ segments, freshness }) };
  const config = {
    listen: `127.0.0.1:${port}`,
    admin: { listen: `127.0.0.1:${adminPort}` },
    cache: { dir: join(home, "cache"), ...cache },
    defaultUpstream: "registry.test",
    upstreams: { "registry.test": upstream },
    workers,
    ...settings,
  };
  const file = join(home, "wharfinger.yaml");
  // JSON is YAML.
  await writeFile(file, JSON.stringify(config));
  const { name, dir, core, profileDir } = options;
  const profiling = profileDir === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profileDir}`];
  const args = [...profiling, MAIN, "serve", "--config", file];
  const daemon = new Daemon({ name, dir, command: process.execPath, args, core });
  const admin = `http://127.0.0.1:${adminPort}`;
  try {
    await daemon.until(async () => (await get(`${admin}/readyz`)).status === 200);
  } catch (error) {
    await daemon.stop();
    throw error;
  }
  return {
    ...registryPaths,
    name: options.label ?? "mirror",
    daemon,
    port,
    adminPort,
    pullsThrough: true,
    settled: () =>
      daemon.until(async () => {
        const { body } = await get(`${admin}/metrics`);
        return /^wharfinger_fills_active 0$/m.test(body.toString());
      }, 120_000),
  };
}

function definedOf(settings: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}
