/**
 * A proxy on loopback, for tests: tunnels and whole URLs, to places that the test names.
 */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type ServerOptions } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { TestContext } from "node:test";

export interface ProxyScript {
  /** Where a host leads; undefined is answered 502. */
  readonly ports: Readonly<Record<string, number>>;
  /** Takes the socket of a CONNECT for itself; false leaves it to the proxy. */
  readonly onConnect?: (socket: Socket, request: IncomingMessage) => boolean;
  /** What `Proxy-Authorization` must say. */
  readonly demand?: string;
  readonly tls?: ServerOptions;
}

export interface PlayedProxy {
  readonly port: number;
  /** `CONNECT host:port` and `GET http://…`, with what was shown. */
  readonly requests: { readonly line: string; readonly headers: IncomingMessage["headers"] }[];
}

/** Closed when the test ends. */
export async function playProxy(t: TestContext, script: ProxyScript): Promise<PlayedProxy> {
  const requests: PlayedProxy["requests"] = [];
  const sockets = new Set<Socket>();
  const note = ({ method, url, headers }: IncomingMessage) => requests.push({ line: `${method} ${url}`, headers });
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    return socket;
  };
  const mayPass = ({ headers }: IncomingMessage) =>
    script.demand === undefined || headers["proxy-authorization"] === script.demand;

  const forward = (asked: IncomingMessage, response: ServerResponse) => {
    note(asked);
    const url = URL.parse(asked.url ?? "");
    if (!mayPass(asked)) return void response.writeHead(407, { "proxy-authenticate": 'Basic realm="p"' }).end();
    const port = url === null ? undefined : script.ports[url.host];
    if (url === null || port === undefined) return void response.writeHead(502).end();
    const { "proxy-authorization": _ours, ...headers } = asked.headers;
    const onward = request(
      { host: "127.0.0.1", port, method: asked.method, path: `${url.pathname}${url.search}`, headers, agent: false },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on("error", () => response.destroy());
    onward.end();
  };
  const server: Server =
    script.tls === undefined ? createServer(forward) : (createTlsServer(script.tls, forward) as unknown as Server);
  server.on(script.tls === undefined ? "connection" : "secureConnection", keep);
  server.on("connect", (asked, socket) => {
    note(asked);
    if (script.onConnect?.(socket as Socket, asked) === true) {
      socket.on("end", () => socket.destroy()).resume();
      return;
    }
    if (!mayPass(asked)) {
      return void socket.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm="p"\r\n\r\n',
      );
    }
    const port = script.ports[asked.url ?? ""];
    if (port === undefined) return void socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
    const onward = keep(connect(port, "127.0.0.1"));
    onward.once("connect", () => {
      socket.write("HTTP/1.1 200 Connection established\r\nvia: 1.1 played\r\n\r\n");
      onward.pipe(socket).pipe(onward);
    });
    onward.once("close", () => socket.destroy());
    socket.once("close", () => onward.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  return { port: (server.address() as AddressInfo).port, requests };
}
