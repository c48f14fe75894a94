/**
 * The mirror as its users run it: a process of its own with a configuration file, stopped by a signal.
 *
 * `WHARFINGER_E2E_MAIN` names another entry point to test, such as the built `dist/cli/main.js`.
 */
import { strict as assert } from "node:assert";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { get } from "../kit/http.ts";
import { freePort, Service } from "./processes.ts";

export interface MirrorOptions {
  /** Holds the configuration and the cache; whoever calls removes it. */
  readonly dir: string;
  /** Configuration below `upstreams`; `allowPrivate` is added to each. */
  readonly upstreams: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Further top-level keys of the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
}

const MAIN = process.env["WHARFINGER_E2E_MAIN"] ?? join(import.meta.dirname, "../../src/cli/main.ts");

export class Mirror {
  readonly port: number;
  readonly adminPort: number;
  readonly #configFile: string;
  #service: Service;

  private constructor(port: number, adminPort: number, configFile: string) {
    this.port = port;
    this.adminPort = adminPort;
    this.#configFile = configFile;
    this.#service = this.#spawn();
  }

  static async start(options: MirrorOptions): Promise<Mirror> {
    const port = await freePort();
    const adminPort = await freePort();
    const upstreams: Record<string, unknown> = {};
    for (const [name, keys] of Object.entries(options.upstreams)) upstreams[name] = { allowPrivate: true, ...keys };
    const config = {
      listen: `127.0.0.1:${port}`,
      admin: { listen: `127.0.0.1:${adminPort}` },
      cache: { dir: join(options.dir, "cache") },
      upstreams,
      ...options.config,
    };
    const file = join(options.dir, "wharfinger.yaml");
    // JSON is YAML.
    await writeFile(file, JSON.stringify(config, undefined, 2));
    const mirror = new Mirror(port, adminPort, file);
    await mirror.#ready();
    return mirror;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get adminUrl(): string {
    return `http://127.0.0.1:${this.adminPort}`;
  }

  get output(): string {
    return this.#service.output;
  }

  /** Stops and starts with the same cache and the same ports. */
  async restart(): Promise<void> {
    await this.stop();
    this.#service = this.#spawn();
    await this.#ready();
  }

  /** SIGTERM, and checks that it was enough and that the process ended without complaint. */
  async stop(): Promise<void> {
    if (!this.#service.running) return;
    const how = await this.#service.stop();
    assert.equal(how, 0, `the mirror must end with 0 on SIGTERM:\n${this.output}`);
  }

  /** SIGKILL, then a start with what is on the disk. */
  async crash(): Promise<void> {
    await this.#service.kill();
    this.#service = this.#spawn();
    await this.#ready();
  }

  #spawn(): Service {
    return new Service("mirror", process.execPath, [MAIN, "serve", "--config", this.#configFile]);
  }

  #ready(): Promise<void> {
    return this.#service.until(async () => (await get(`${this.adminUrl}/readyz`)).status === 200);
  }
}
