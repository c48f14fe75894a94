/**
 * Hosts of the public network, under their real names, in this process: one TLS server on loopback, told apart by SNI and
 * `Host`, with a `Network` that leads there and nowhere else.
 *
 * Every request is written down. What no client may ever do — an `Authorization` where it does not belong, a cookie, a
 * connection to a name that nobody has heard of — is a trespass, and a test that ends with one has failed.
 */
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { getCACertificates, setDefaultCACertificates, TLSSocket } from "node:tls";
import { fileURLToPath } from "node:url";
import type { Network } from "../../../src/upstream/network/network.ts";
import { text } from "./answers.ts";
import type { Answer, House, Visit, VisitKind } from "./visit.ts";

export interface RecordedVisit {
  readonly host: string;
  readonly method: string;
  readonly kind: VisitKind;
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  /** True where a redirect of another visit led here. */
  readonly hop: boolean;
  status: number;
}

/** Fields of forms to token servers (RFC 6749 §4.3.2 and §6). */
const SECRETS = ["password", "refresh_token", "access_token", "client_secret"];
const MAX_FORM_BYTES = 16 * 1024;
/** A network that is the open one to any judgement of addresses. */
const PUBLIC_NETWORK = "93.184.216.";
/** Where nobody listens: connections that should not have been made end here. */
const NOWHERE = { address: "127.0.0.1", port: 9 };

export const pemFile = (name: string) => fileURLToPath(new URL(`tls/${name}.pem`, import.meta.url));

export class Zoo {
  readonly visits: RecordedVisit[] = [];
  readonly trespasses: string[] = [];
  readonly network: Network;
  readonly #houses: ReadonlyMap<string, House>;
  readonly #names: readonly string[];
  readonly #server: Server;
  readonly #announced = new Set<string>();

  private constructor(houses: readonly House[]) {
    this.#houses = new Map(houses.map((house) => [house.host, house]));
    this.#names = [...new Set(houses.map(({ host }) => nameOf(host)))];
    const key = readFileSync(pemFile("zoo-key"));
    const cert = readFileSync(pemFile("zoo"));
    this.#server = createServer({ key, cert, keepAliveTimeout: 60_000 }, (request, response) => {
      this.#receive(request, response).catch((error: unknown) => {
        this.trespasses.push(`the zoo itself failed: ${String(error)}`);
        response.destroy();
      });
    });
    this.network = {
      env: {},
      resolve: (hostname, _options, callback) => {
        const at = this.#names.indexOf(hostname);
        if (at >= 0) return callback(null, [{ address: `${PUBLIC_NETWORK}${at + 1}`, family: 4 }]);
        this.trespasses.push(`the name ${hostname} was looked up`);
        callback(Object.assign(new Error(`no such name: ${hostname}`), { code: "ENOTFOUND" }), []);
      },
      divert: (host, port) => {
        if (this.#houses.has(port === 443 ? host : `${host}:${port}`)) return { address: "127.0.0.1", port: this.port };
        this.trespasses.push(`a connection to ${host}:${port}`);
        return NOWHERE;
      },
    };
  }

  static async open(houses: readonly House[]): Promise<Zoo> {
    const zoo = new Zoo(houses);
    await new Promise<void>((resolve) => zoo.#server.listen(0, "127.0.0.1", resolve));
    return zoo;
  }

  /** For a client that is no mirror. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = await readForm(request);
    const host = (request.headers.host ?? "").toLowerCase();
    const url = new URL(request.url ?? "/", `https://${host === "" ? "none" : host}`);
    const { method = "", headers } = request;
    const { authorization } = headers;
    const visit: Visit = {
      method,
      host,
      path: decodeURIComponent(url.pathname),
      query: url.searchParams,
      headers,
      authorization,
      form,
    };
    this.#watch(request, visit);
    const house = this.#houses.get(host);
    const desk = house?.desks.find((one) => one.kindOf(visit) !== undefined);
    if (authorization !== undefined && desk?.owns(authorization) !== true) {
      this.trespasses.push(`${host} was sent an Authorization that is not for it: ${method} ${visit.path}`);
    }
    const holdsSecret = SECRETS.some((name) => form.has(name));
    if (holdsSecret && desk?.takes?.(form) !== true)
      this.trespasses.push(`${host} was sent a secret that is not for it`);
    const answer = desk?.answer(visit) ?? house?.otherwise ?? text(house === undefined ? 421 : 404, "not found\n");
    const recorded: RecordedVisit = {
      host,
      method,
      kind: desk?.kindOf(visit) ?? "other",
      path: visit.path,
      headers,
      hop: this.#announced.has(url.href),
      status: answer.status,
    };
    this.visits.push(recorded);
    const { location } = answer.headers;
    if (answer.status >= 300 && answer.status < 400 && typeof location === "string") {
      this.#announced.add(new URL(location, url).href);
    }
    await deliver(answer, visit, response);
  }

  #watch(request: IncomingMessage, visit: Visit): void {
    const { socket } = request;
    const sni = socket instanceof TLSSocket && "servername" in socket ? socket.servername : undefined;
    if (sni !== nameOf(visit.host))
      this.trespasses.push(`${visit.host} was asked under the name ${String(sni)} in SNI`);
    if (visit.headers.cookie !== undefined) this.trespasses.push(`${visit.host} was sent a cookie`);
    if (visit.headers["accept-encoding"] !== "identity") {
      this.trespasses.push(`${visit.host} was asked for ${String(visit.headers["accept-encoding"])}`);
    }
  }
}

/** Lets this process trust the zoo's authority, and no other, until it is disposed of. */
export function trustZoo(): Disposable {
  const before = getCACertificates("default");
  setDefaultCACertificates([readFileSync(pemFile("zoo-ca"), "utf8")]);
  return { [Symbol.dispose]: () => setDefaultCACertificates(before) };
}

function nameOf(host: string): string {
  return host.replace(/:\d+$/, "");
}

async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes <= MAX_FORM_BYTES) chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString("utf8"));
}

/** With the length of the body even where there is none (HEAD), as all of them send it. */
async function deliver(
  { status, headers, body, cutAfterBytes }: Answer,
  visit: Visit,
  response: ServerResponse,
): Promise<void> {
  const size = Buffer.isBuffer(body) ? body.length : body.sizeBytes;
  const fields: Record<string, string | string[]> = {};
  for (const [name, value] of Object.entries(headers)) fields[name] = typeof value === "string" ? value : [...value];
  const range = rangeOf(visit, status, fields, size);
  const start = range?.start ?? 0;
  const end = range?.end ?? size;
  if (range !== undefined) fields["content-range"] = `bytes ${start}-${end - 1}/${size}`;
  fields["content-length"] ??= String(end - start);
  response.writeHead(range === undefined ? status : 206, fields);
  if (visit.method === "HEAD" || status === 304) return void response.end();
  if (cutAfterBytes !== undefined && !Buffer.isBuffer(body)) {
    for (const chunk of body.read(start, Math.min(end, start + cutAfterBytes))) response.write(chunk);
    // What was written is with the kernel first: a cut, not a reset in its place.
    await new Promise<void>((resolve) => response.write("", () => resolve()));
    return void response.destroy();
  }
  if (Buffer.isBuffer(body)) return void response.end(body.subarray(start, end));
  for (const chunk of body.read(start, end)) response.write(chunk);
  response.end();
}

/** One range, where the answer says that it takes ranges (RFC 9110 §14.2). */
function rangeOf(
  visit: Visit,
  status: number,
  headers: Readonly<Record<string, unknown>>,
  size: number,
): { readonly start: number; readonly end: number } | undefined {
  if (visit.method !== "GET" || status !== 200 || headers["accept-ranges"] !== "bytes") return undefined;
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(visit.headers.range ?? "") ?? [];
  if (first === undefined || Number(first) >= size) return undefined;
  return { start: Number(first), end: last === "" ? size : Math.min(size, Number(last) + 1) };
}
