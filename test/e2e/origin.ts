/**
 * The registry that is mirrored: a real `docker-registry` (distribution), and its access log as the count of what was
 * asked of it.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { get } from "../kit/http.ts";
import type { TestImage, TestIndex } from "../kit/image.ts";
import { freePort, Service } from "./processes.ts";
import { findProgram } from "./programs.ts";

export interface LoggedRequest {
  readonly method: string;
  readonly kind: "manifest" | "blob" | "other";
  readonly repository: string;
  /** Tag or digest. */
  readonly reference: string;
  readonly status: number;
}

export interface OriginOptions {
  /** An htpasswd file's line (bcrypt), and what it was made of. */
  readonly login?: { readonly username: string; readonly password: string; readonly line: string };
  /** The registry's settings of `auth.token`, and what lets us push to a repository. */
  readonly tokens?: {
    readonly settings: Readonly<Record<string, string>>;
    readonly authorizationToPush: (repository: string) => string;
  };
}

const MAX_ROUNDS = 50;
const LINE = /"(\w+) (\S+) HTTP\/[\d.]+" (\d+) /;
const PATH = /^\/v2\/(.+)\/(manifests|blobs)\/([^/?]+)(?:\?.*)?$/;

export class Origin {
  readonly url: string;
  readonly #service: Service;
  readonly #headersFor: (repository: string) => Record<string, string>;
  #readFrom = 0;
  #marks = 0;

  private constructor(url: string, service: Service, headersFor: (repository: string) => Record<string, string>) {
    this.url = url;
    this.#service = service;
    this.#headersFor = headersFor;
  }

  /** Its content lies below `dir`, which whoever calls removes. */
  static async start(dir: string, options: OriginOptions = {}): Promise<Origin> {
    const port = await freePort();
    const config: Record<string, unknown> = {
      version: "0.1",
      log: { level: "warn" },
      storage: { filesystem: { rootdirectory: join(dir, "registry") }, delete: { enabled: true } },
      http: { addr: `127.0.0.1:${port}`, secret: "test" },
    };
    const headers: Record<string, string> = {};
    if (options.login !== undefined) {
      const file = join(dir, "htpasswd");
      await writeFile(file, `${options.login.line}\n`);
      config["auth"] = { htpasswd: { realm: "test", path: file } };
      const pair = `${options.login.username}:${options.login.password}`;
      headers["authorization"] = `Basic ${Buffer.from(pair).toString("base64")}`;
    }
    const { tokens } = options;
    if (tokens !== undefined) config["auth"] = { token: tokens.settings };
    const file = join(dir, "registry.yml");
    // JSON is YAML.
    await writeFile(file, JSON.stringify(config));
    const service = new Service("docker-registry", findProgram("docker-registry") ?? "docker-registry", [
      "serve",
      file,
    ]);
    const origin = new Origin(`http://127.0.0.1:${port}`, service, (repository) =>
      tokens === undefined ? headers : { authorization: tokens.authorizationToPush(repository) },
    );
    const ready = tokens === undefined ? 200 : 401;
    await service.until(async () => (await get(`${origin.url}/v2/`, { headers })).status === ready);
    return origin;
  }

  /** Uploads an image or an index with all below it, and tags it. */
  async push(repository: string, image: TestImage | TestIndex, tag?: string): Promise<void> {
    if ("images" in image) for (const child of image.images) await this.push(repository, child);
    else for (const [digest, bytes] of image.blobs) await this.#pushBlob(repository, digest, bytes);
    const answer = await get(`${this.url}/v2/${repository}/manifests/${tag ?? image.digest}`, {
      method: "PUT",
      headers: { ...this.#headersFor(repository), "content-type": image.mediaType },
      body: image.manifest,
    });
    if (answer.status !== 201) throw new Error(`manifest refused: ${answer.status} ${answer.body}`);
  }

  /** Starts the count anew. */
  async forget(): Promise<void> {
    await this.#caughtUp();
    this.#readFrom = this.#service.stdout.length;
  }

  /** What was asked for since the last `forget`; only complete when no request is running. */
  async requests(): Promise<LoggedRequest[]> {
    await this.#caughtUp();
    const requests: LoggedRequest[] = [];
    for (const line of this.#service.stdout.slice(this.#readFrom).split("\n")) {
      const [, method = "", path = "", status = ""] = LINE.exec(line) ?? [];
      if (method === "" || path.includes("test-mark")) continue;
      const [, repository = "", kind = "", reference = ""] = PATH.exec(decodeURIComponent(path)) ?? [];
      requests.push({
        method,
        kind: kind === "manifests" ? "manifest" : kind === "blobs" ? "blob" : "other",
        repository,
        reference,
        status: Number(status),
      });
    }
    return requests;
  }

  /** Successful GETs of one kind, as `reference → how often`. */
  async gets(kind: "manifest" | "blob"): Promise<Map<string, number>> {
    const counts = new Map<string, number>();
    for (const request of await this.requests()) {
      if (request.method !== "GET" || request.kind !== kind || request.status >= 300) continue;
      counts.set(request.reference, (counts.get(request.reference) ?? 0) + 1);
    }
    return counts;
  }

  async stop(): Promise<void> {
    await this.#service.stop();
  }

  async #pushBlob(repository: string, digest: string, bytes: Buffer): Promise<void> {
    const headers = this.#headersFor(repository);
    const begun = await get(`${this.url}/v2/${repository}/blobs/uploads/`, { method: "POST", headers });
    const location = new URL(begun.headers.location ?? "", this.url);
    location.searchParams.set("digest", digest);
    const answer = await get(location.href, {
      method: "PUT",
      headers: { ...headers, "content-type": "application/octet-stream" },
      body: bytes,
    });
    if (answer.status !== 201) throw new Error(`blob refused: ${answer.status} ${answer.body}`);
  }

  /**
   * A line is written after its answer has ended, on a busy machine long after: what was asked for later has its line, and
   * again, and no other line came meanwhile.
   */
  async #caughtUp(): Promise<void> {
    if (!this.#service.running) return;
    let quiet = 0;
    for (let round = 0; quiet < 2 && round < MAX_ROUNDS; round += 1) {
      const before = this.#countLines();
      await sleep(100);
      this.#marks += 1;
      const mark = `test-mark=${this.#marks} `;
      await get(`${this.url}/v2/?${mark.trim()}`, { headers: this.#headersFor("") });
      await this.#service.until(() => this.#service.stdout.includes(mark), 5_000);
      quiet = this.#countLines() === before ? quiet + 1 : 0;
    }
  }

  /** But for our own marks. */
  #countLines(): number {
    return this.#service.stdout.split("\n").filter((line) => !line.includes("test-mark")).length;
  }
}
