/**
 * A client that asks a server single questions, redirects followed, and counts nothing.
 */
import { Life } from "./life.ts";
import { Line } from "./line.ts";
import type { LoadOptions } from "./options.ts";
import type { Answer } from "./receipt.ts";

export interface VisitorOptions {
  readonly tls: LoadOptions["tls"];
  readonly timeoutMs: number;
  readonly version: string;
}

const NO_METER = { received: () => {}, answered: () => {} };
const LOOK_EVERY_MS = 200;

export class Visitor {
  readonly #life = new Life(LOOK_EVERY_MS);
  readonly #line: Line;
  readonly #userAgent: string;

  constructor(options: VisitorOptions) {
    this.#line = new Line({ ...options, as: "dockerd", scenario: "manifests" }, this.#life, NO_METER);
    this.#userAgent = `wharfinger/${options.version}`;
  }

  /** @throws Mishap */
  ask(method: "GET" | "HEAD", url: URL, accept = "*/*"): Promise<Answer> {
    return this.#line.send({ method, url, headers: { "user-agent": this.#userAgent, accept } });
  }

  /** Ends what is under way; nothing keeps the process alive then. */
  close(): void {
    this.#life.stop();
    this.#line.close();
  }
}
