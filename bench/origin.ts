/**
 * The upstream: docker-registry, or nginx where that is missing. Its access log is the count of what was asked of it.
 */
import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { get } from "../test/kit/http.ts";
import type { Library } from "./library.ts";
import { startNginx } from "./nginx.ts";
import { findProgram } from "./programs.ts";
import { startRegistry } from "./registry.ts";
import type { Served } from "./served.ts";

export interface OriginCount {
  /** GETs of blobs. */
  readonly blobGets: number;
  /** Every request. */
  readonly all: number;
  /** Of the bodies. */
  readonly bytes: number;
}

const REQUEST = /"(\w+) (\S+) HTTP\/[\d.]+" \d+ (\d+|-)/;

/** Counts what an access log in the common format says; a mark of ours is not a request. */
export function countRequests(log: string): OriginCount {
  let blobGets = 0;
  let all = 0;
  let bytes = 0;
  for (const line of log.split("\n")) {
    const [, method, path = "", size = "-"] = REQUEST.exec(line) ?? [];
    if (method === undefined || path.includes("bench-mark")) continue;
    all += 1;
    // What a HEAD's answer would have had as its body was not sent.
    if (method !== "HEAD" && size !== "-") bytes += Number(size);
    if (method === "GET" && path.includes("/blobs/")) blobGets += 1;
  }
  return { blobGets, all, bytes };
}

export class Origin {
  readonly kind: "docker-registry" | "nginx";
  readonly port: number;
  readonly #served: Served;
  #readFrom = 0;
  #marks = 0;

  private constructor(kind: "docker-registry" | "nginx", served: Served) {
    this.kind = kind;
    this.port = served.port;
    this.#served = served;
  }

  /** @throws MissingProgram where there is neither. */
  static async start(dir: string, library: Library): Promise<Origin> {
    if (findProgram("docker-registry") !== undefined) {
      return new Origin("docker-registry", await startRegistry({ name: "origin", dir, root: library.root }));
    }
    return new Origin("nginx", await startNginx({ name: "origin", dir, library, accessLog: true }));
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts the count anew. */
  async forget(): Promise<void> {
    this.#readFrom = (await this.#log()).length;
  }

  /** Since the last `forget`; complete only when no request is running. */
  async count(): Promise<OriginCount> {
    return countRequests((await this.#log()).slice(this.#readFrom));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#served.daemon.stop();
  }

  /** A line is written when its answer has ended: wait for one that was asked for later, and a moment for the rest. */
  async #log(): Promise<string> {
    await sleep(100);
    this.#marks += 1;
    const mark = `bench-mark=${this.#marks}`;
    await get(`${this.url}/v2/?${mark}`);
    const read = () => readFile(this.#served.daemon.outFile, "utf8");
    await this.#served.daemon.until(async () => (await read()).includes(`${mark} `), 5_000);
    return await read();
  }
}
