/**
 * Raw servers on loopback that answer with whatever bytes a test wants, and a transport whose blob lane asks them.
 */
import { createServer, type Server, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { createServer as createTlsServer, type TlsOptions } from "node:tls";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import type { Flow } from "../../../src/base/flow.ts";
import type { Network } from "../../../src/upstream/network/network.ts";
import { type Answer, openTransport } from "../../../src/upstream/network/transport.ts";
import type { Timeouts, UpstreamOptions } from "../../../src/upstream/options.ts";

export const never = new AbortController().signal;

export interface RawServer {
  readonly url: string;
  readonly port: number;
  /** Every connection ever made. */
  readonly sockets: Socket[];
  /** Connections that are open now. */
  open(): number;
}

/** Calls `answer` for each request head that comes in; closed when the test ends. */
export async function serve(
  t: TestContext,
  answer: (socket: Socket, request: string, count: number) => void,
  { tls, host = "127.0.0.1", port: wanted = 0 }: { tls?: TlsOptions; host?: string; port?: number } = {},
): Promise<RawServer> {
  const sockets: Socket[] = [];
  let count = 0;
  const onSocket = (socket: Socket) => {
    sockets.push(socket);
    socket.on("error", () => {});
    let pending = "";
    socket.on("data", (bytes: Buffer) => {
      pending += bytes.toString("latin1");
      for (let end = pending.indexOf("\r\n\r\n"); end >= 0; end = pending.indexOf("\r\n\r\n")) {
        const request = pending.slice(0, end + 4);
        pending = pending.slice(end + 4);
        count += 1;
        answer(socket, request, count);
      }
    });
  };
  const server: Server = tls === undefined ? createServer(onSocket) : createTlsServer(tls, onSocket);
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(wanted, host, resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const scheme = tls === undefined ? "http" : "https";
  const open = () => sockets.filter((socket) => !socket.destroyed).length;
  return { url: `${scheme}://127.0.0.1:${port}`, port, sockets, open };
}

export interface Wire {
  get(url: string, signal?: AbortSignal, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  /** Status and whole body. */
  text(url: string, signal?: AbortSignal): Promise<{ status: number; text: string }>;
  close(): Promise<void>;
}

/** A transport for `endpoint`, closed when the test ends. */
export function wireTo(
  t: TestContext,
  endpoint: string,
  more: Partial<UpstreamOptions> = {},
  timeouts: Partial<Timeouts> = {},
  clock: Clock = systemClock,
  network: Network = {},
): Wire {
  const options: UpstreamOptions = {
    url: endpoint,
    allowPrivate: true,
    tls: { insecureSkipVerify: false },
    credentials: [],
    tokenRealm: null,
    limits: { connections: 4 },
    offline: false,
    ...more,
  };
  const all = { connectMs: 5000, headersMs: 5000, bodyMs: 5000, ...timeouts };
  const transport = openTransport("reg.test", [new URL(endpoint)], options, all, clock, network);
  t.after(() => transport.close());
  const get: Wire["get"] = (url, signal = never, headers = { accept: "*/*" }) =>
    transport.request(new URL(url), { method: "GET", headers, lane: "blob", signal });
  return {
    get,
    async text(url, signal) {
      const { status, body } = await get(url, signal);
      return { status, text: (await readAll(body)).toString("latin1") };
    },
    close: () => transport.close(),
  };
}

/** Reads to the end. */
export function readAll(body: Flow): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let space = Buffer.alloc(10_000);
  return new Promise((resolve, reject) => {
    body.pour(
      {
        space: () => space,
        filled(count) {
          pieces.push(space.subarray(0, count));
          space = Buffer.alloc(10_000);
          return true;
        },
      },
      (error) => (error === undefined ? resolve(Buffer.concat(pieces)) : reject(error)),
    );
  });
}

/** Resolves when `holds`. */
export async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 5000;
  while (!holds()) {
    if (performance.now() > deadline) throw new Error("it never came to be");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

export const whole = (body: string, fields = "") =>
  `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n${fields}\r\n${body}`;
