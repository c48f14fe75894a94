/**
 * A tunnel through a proxy (RFC 9110 §9.3.6), and what goes wrong with proxies, in words that say what to do.
 *
 * The invariant: after the proxy's answer the socket has brought nothing yet of what comes through the tunnel.
 */
import type { Socket } from "node:net";
import { errnoOf, Failure, messageOf } from "../../base/failure.ts";
import type { ProxyServer } from "../network/proxies.ts";
import { malformed, WireFault } from "./fault.ts";
import { type Head, HeadReader } from "./head.ts";

const MAX_INTERIM = 8;

/** Asks for a tunnel to `target`, host and port. Rejects when the socket is closed, with what the connection failed with. */
export async function askForTunnel(
  socket: Socket,
  target: string,
  authorization: string | undefined,
  signal: AbortSignal,
): Promise<Head> {
  const { promise, resolve, reject } = Promise.withResolvers<Head>();
  const reader = new HeadReader();
  let interim = 0;
  let failure: Error | undefined;
  const fail = (error: unknown) => {
    failure ??= error instanceof Error ? error : new Error(String(error));
    socket.destroy();
  };
  const onAbort = () => fail(signal.reason);
  const onEnd = () => fail(new WireFault("WIRE_CLOSED", "it ended the connection"));
  const onClose = () => reject(failure ?? new WireFault("WIRE_CLOSED", "it closed the connection"));
  const onData = (bytes: Buffer) => {
    try {
      let at = reader.feed(bytes);
      while (reader.head !== undefined && reader.head.status < 200) {
        interim += 1;
        if (interim > MAX_INTERIM || reader.head.status === 101) throw malformed("an interim answer to no question");
        reader.again();
        at = reader.feed(bytes, at);
      }
      const { head } = reader;
      if (head === undefined) return;
      // Nobody speaks in a tunnel before we do.
      if (isOpen(head) && at < bytes.length) throw malformed("bytes that nobody asked for");
      socket.pause();
      socket.off("data", onData);
      resolve(head);
    } catch (error) {
      fail(error);
    }
  };
  socket.on("error", fail);
  socket.once("end", onEnd);
  socket.once("close", onClose);
  socket.on("data", onData);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  const proof = authorization === undefined ? "" : `proxy-authorization: ${authorization}\r\n`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nhost: ${target}\r\n${proof}\r\n`, "latin1");
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", onAbort);
    socket.off("end", onEnd);
    socket.off("close", onClose);
  }
}

export function isOpen({ status }: Pick<Head, "status">): boolean {
  return status >= 200 && status < 300;
}

/** The proxy answered, and said no. */
export function refusedByProxy(
  upstream: string,
  proxy: ProxyServer,
  target: string,
  { status, headers }: Pick<Head, "status" | "headers">,
): Failure {
  const the = `${upstream}: the proxy ${proxy.host}`;
  const said = `answered ${status}`;
  // Asked again and again with a wrong password, some lock the account.
  const cause = status < 500 ? new WireFault("WIRE_PROXY_REFUSED", said) : new WireFault("WIRE_CLOSED", said);
  return new Failure("unreachable", `${the} ${reasonOf(proxy, target, status, headers["proxy-authenticate"])}`, {
    cause,
  });
}

function reasonOf(
  { variable, authorization }: ProxyServer,
  target: string,
  status: number,
  challenge: string | readonly string[] | undefined,
): string {
  if (status === 407) {
    const text = [challenge ?? []].flat().join(", ");
    const schemes = /\b(?:negotiate|ntlm|kerberos|digest)\b/i.exec(text)?.[0];
    if (schemes !== undefined && !/\bbasic\b/i.test(text)) {
      return `asks for ${schemes} (407), and only user and password can be given it; have it let this machine through without`;
    }
    return authorization === undefined
      ? `asks for a user and password (407); put them into ${variable}: http://user:password@host:port`
      : `refuses the user and password in ${variable} (407); check them, they must be percent-encoded`;
  }
  if (status === 401 || status === 403 || status === 405) {
    return `does not let us through to ${target} (${status}); allow it there (many allow port 443 only), or name the host in NO_PROXY`;
  }
  if (status === 502 || status === 503 || status === 504) {
    return `cannot reach ${target} (${status}); check the name, and the proxy's own way out`;
  }
  return `answered ${status} where a tunnel to ${target} was asked for; check that ${variable} names a proxy`;
}

/** The way to the proxy, or its answer, failed with `error`. */
export function failureOfProxy(upstream: string, { host, variable }: ProxyServer, error: unknown): Failure {
  if (error instanceof Failure) return error;
  const the = `${upstream}: the proxy ${host}`;
  const timedOut = error instanceof WireFault && error.code === "WIRE_CONNECT_TIMEOUT";
  return new Failure("unreachable", `${the} ${explain(error, timedOut)}; check ${variable} and the proxy`, {
    cause: error,
    timedOut,
  });
}

function explain(error: unknown, timedOut: boolean): string {
  if (timedOut) return "did not let us through in time";
  if (error instanceof WireFault) {
    return error.code === "WIRE_CLOSED" ? "closed the connection" : `does not speak proper HTTP: ${error.message}`;
  }
  const first = error instanceof AggregateError ? error.errors[0] : error;
  return `cannot be connected to (${errnoOf(first) ?? messageOf(first)})`;
}
