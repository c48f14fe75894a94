/**
 * A mirror whose cache is a small file system of its own: a tmpfs in a mount namespace that nobody else sees, and that is
 * gone with the mirror. Needs root on Linux, and `unshare` and `nsenter` (util-linux).
 */
import { execFileSync } from "node:child_process";
import { mkdir, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../test/e2e/processes.ts";
import { get } from "../test/kit/http.ts";
import { Daemon } from "./daemon.ts";
import { needProgram } from "./programs.ts";
import { Skipped } from "./scenario.ts";

export interface RoomlessOptions {
  readonly name: string;
  readonly dir: string;
  readonly upstreamUrl: string;
  readonly sizeBytes: number;
  readonly minFreeBytes: number;
  readonly workers: number;
}

/** What is measured here is not how soon it starts. */
const READY_MS = 60_000;
const MAIN = join(import.meta.dirname, "../dist/cli/main.js");

export class RoomlessMirror {
  readonly daemon: Daemon;
  readonly port: number;
  readonly #adminPort: number;
  /** The file system's root, as the mirror names it. */
  readonly #mount: string;

  private constructor(daemon: Daemon, port: number, adminPort: number, mount: string) {
    this.daemon = daemon;
    this.port = port;
    this.#adminPort = adminPort;
    this.#mount = mount;
  }

  /** @throws Skipped where we may not mount. */
  static async start(options: RoomlessOptions): Promise<RoomlessMirror> {
    const { name, dir, sizeBytes, minFreeBytes, upstreamUrl, workers } = options;
    if (process.getuid?.() !== 0) throw new Skipped("mounting a small file system needs root: run it with sudo");
    const unshare = needProgram("unshare");
    needProgram("nsenter");
    const home = join(dir, name);
    const mount = join(home, "small");
    await mkdir(mount, { recursive: true });
    const port = await freePort();
    const adminPort = await freePort();
    const config = {
      listen: `127.0.0.1:${port}`,
      admin: { listen: `127.0.0.1:${adminPort}` },
      cache: { dir: join(mount, "cache"), minFree: minFreeBytes },
      defaultUpstream: "registry.test",
      upstreams: { "registry.test": { url: upstreamUrl, allowPrivate: true } },
      workers,
    };
    const file = join(home, "wharfinger.yaml");
    // JSON is YAML.
    await writeFile(file, JSON.stringify(config));
    const script = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"';
    const run = [process.execPath, MAIN, "serve", "--config", file];
    const args = ["-m", "--propagation", "private", "sh", "-c", script, "sh", String(sizeBytes), mount, ...run];
    const daemon = new Daemon({ name, dir, command: unshare, args });
    const mirror = new RoomlessMirror(daemon, port, adminPort, mount);
    try {
      const ready = async () => (await get(`http://127.0.0.1:${adminPort}/readyz`)).status === 200;
      await daemon.until(ready, READY_MS);
    } catch (error) {
      await daemon.stop();
      const text = String(error);
      if (/unshare|permission denied|Operation not permitted/i.test(text)) throw new Skipped(`cannot mount: ${text}`);
      throw error;
    }
    return mirror;
  }

  /** A path on the small file system, for us out here. */
  path(name: string): string {
    return join(`/proc/${this.daemon.pid}/root${this.#mount}`, name);
  }

  async freeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.path("."));
    return bavail * bsize;
  }

  resize(sizeBytes: number): void {
    const remount = ["mount", "-o", `remount,size=${sizeBytes}`, this.#mount];
    execFileSync("nsenter", ["-t", String(this.daemon.pid), "-m", ...remount]);
  }

  async readiness(): Promise<Record<string, unknown>> {
    const { body } = await get(`http://127.0.0.1:${this.#adminPort}/readyz`);
    return JSON.parse(body.toString()) as Record<string, unknown>;
  }

  async metric(name: RegExp): Promise<number> {
    const { body } = await get(`http://127.0.0.1:${this.#adminPort}/metrics`);
    const lines = body.toString().split("\n");
    return lines.reduce((sum, line) => (name.test(line) ? sum + Number(line.split(" ").at(-1)) : sum), 0);
  }
}
