/**
 * One client's connections, and a request over them: redirects followed, the body counted and handed on, nothing kept.
 *
 * An `Authorization` goes to the origin it was made for and to no other. What breaks, stalls or ends short is a
 * `Mishap`; the end of the run is `Stopped`.
 */
import { type OutgoingHttpHeaders, Agent as PlainAgent, request as plainRequest } from "node:http";
import { Agent as TlsAgent, request as tlsRequest } from "node:https";
import { getCACertificates } from "node:tls";
import type { Life } from "./life.ts";
import { Mishap } from "./mishap.ts";
import type { LoadOptions } from "./options.ts";
import type { RequestHeaders } from "./profile.ts";
import { type Answer, type Meter, Receipt, type Sink } from "./receipt.ts";

export interface Ask {
  readonly method: "GET" | "HEAD";
  readonly url: URL;
  readonly headers: RequestHeaders;
  readonly authorization?: string | undefined;
  /** Takes the body of a 200 or 206; the next bytes come when what it returned has resolved. */
  readonly sink?: Sink | undefined;
  /** Without a sink: how much of the body may be kept. Longer ones are a mishap. */
  readonly keepBytes?: number;
  /** The client has enough after so many bytes, and closes the connection. */
  readonly enoughBytes?: number | undefined;
}

const SLOW_BUFFER_BYTES = 4096;
const MAX_REDIRECTS = 10;
const MAX_REFUSAL_BYTES = 64 * 1024;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

export type LineOptions = Pick<LoadOptions, "tls" | "timeoutMs" | "version" | "as" | "scenario">;

export class Line {
  readonly #options: LineOptions;
  readonly #life: Life;
  readonly #meter: Meter;
  readonly #plain: PlainAgent;
  readonly #tls: TlsAgent;
  readonly #trust: { readonly rejectUnauthorized: boolean; readonly ca?: string[] };

  constructor(options: LineOptions, life: Life, meter: Meter) {
    this.#options = options;
    this.#life = life;
    this.#meter = meter;
    const { ca, insecure } = options.tls;
    // Thousands of slow readers hold in memory what has been read for them and not yet taken.
    const buffers = options.scenario === "slow" ? { highWaterMark: SLOW_BUFFER_BYTES } : {};
    this.#plain = new PlainAgent({ keepAlive: true, scheduling: "lifo", ...buffers });
    this.#trust = {
      rejectUnauthorized: !insecure,
      ...(ca === undefined ? {} : { ca: [...getCACertificates("default"), ca] }),
    };
    this.#tls = new TlsAgent({ keepAlive: true, scheduling: "lifo", ...buffers });
  }

  /** @throws Mishap, Stopped */
  async send(ask: Ask): Promise<Answer> {
    const startedAt = performance.now();
    let { url, authorization } = ask;
    for (let hop = 0; ; hop += 1) {
      const answer = await this.#once({ ...ask, url, authorization }, startedAt);
      const { location } = answer.headers;
      if (!REDIRECTS.has(answer.status) || location === undefined) return answer;
      if (hop === MAX_REDIRECTS) throw new Mishap("bad answer", `more than ${MAX_REDIRECTS} redirects`);
      const next = URL.parse(location, url);
      if (next === null || !/^https?:$/.test(next.protocol)) {
        throw new Mishap("bad answer", `a redirect to no place: ${location.slice(0, 200)}`);
      }
      if (next.origin !== url.origin) authorization = undefined;
      url = next;
    }
  }

  /** Closes every connection, in use or not. */
  close(): void {
    this.#plain.destroy();
    this.#tls.destroy();
  }

  async #once(ask: Ask, startedAt: number): Promise<Answer> {
    const answer = await this.#try(ask, startedAt, "kept").answer;
    if (answer !== "stale connection") return answer;
    // The server closed an idle connection just as it was used again: every client asks once more, over a new one.
    const again = await this.#try(ask, startedAt, "new").answer;
    if (again === "stale connection") throw new Mishap("reset", "the connection was reset");
    return again;
  }

  #try(ask: Ask, startedAt: number, connection: "kept" | "new"): Receipt {
    const secure = ask.url.protocol === "https:";
    const headers: OutgoingHttpHeaders = {
      "user-agent": `wharfinger-bench/${this.#options.version} (as ${this.#options.as})`,
    };
    for (const [name, value] of Object.entries(ask.headers)) headers[name] = value;
    if (ask.authorization !== undefined) headers["authorization"] = ask.authorization;
    const receipt = new Receipt({
      startedAt,
      timeoutMs: this.#options.timeoutMs,
      life: this.#life,
      meter: this.#meter,
      sink: ask.sink,
      keepBytes: ask.keepBytes ?? MAX_REFUSAL_BYTES,
      enoughBytes: ask.enoughBytes,
    });
    const { method, url } = ask;
    const fresh = connection === "new";
    const request = secure
      ? tlsRequest(url, { ...this.#trust, method, headers, agent: fresh ? false : this.#tls })
      : plainRequest(url, { method, headers, agent: fresh ? false : this.#plain });
    receipt.follow(request);
    request.end();
    return receipt;
  }
}
