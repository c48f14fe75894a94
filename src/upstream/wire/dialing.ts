/**
 * Opening sockets, for both lanes: to allowed addresses only, by way of a proxy where one is configured, with TLS as the host
 * is trusted, bytes read into memory of the caller's.
 *
 * A name is resolved once for each connection, all its addresses are judged, and the socket is connected to one of those by
 * number: it cannot answer differently the second time. Behind a proxy the name is resolved a second time, by the proxy:
 * literals and names that resolve here are judged all the same before the proxy hears of them; a name that only the proxy can
 * resolve passes, and then the proxy's rules are what keeps us out of places. Where nobody here answers for a name, one of the
 * configuration's own passes after a second; one that an upstream sent us to does not: its owner chooses how long that takes.
 *
 * To `https:` a proxy is asked for a tunnel. To `http:` it is asked for the URL itself (RFC 9112 §3.2.2): squid and
 * tinyproxy, as they come, open tunnels to port 443 only.
 */
import { connect, isIP, type OnReadOpts, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Clock } from "../../base/clock.ts";
import { errnoOf } from "../../base/failure.ts";
import { AddressRefused, bare, judgedAddresses, lookupAll, refusalOfLiteral } from "../network/addresses.ts";
import type { Network } from "../network/network.ts";
import type { Proxies, ProxyServer } from "../network/proxies.ts";
import { isReset, WireFault } from "./fault.ts";
import { connectFirst, type Place } from "./race.ts";
import { type BeginTls, bringTo, Securing, secured, type Trust } from "./secure.ts";
import { askForTunnel, failureOfProxy, isOpen, refusedByProxy } from "./tunnel.ts";

/** How long a name that the proxy will resolve is looked for here. */
const LOOKUP_BEHIND_PROXY_MS = 1000;
const KEEP_ALIVE_PROBE_MS = 60_000;

export interface DialOptions {
  /** The upstream's, for messages. */
  readonly name: string;
  readonly allowPrivate: boolean;
  /** Is this host one that the configuration, or our own table, names? Default: none is. */
  readonly isOwn?: (hostname: string) => boolean;
  readonly trustOf: (hostname: string) => Trust;
  readonly network: Network;
  readonly proxies: Proxies;
  readonly clock: Clock;
  /** For a connection, TLS included. */
  readonly connectMs: number;
}

export interface Dial {
  /** A socket that may be written to. Rejects when everything that was begun is closed again. */
  readonly opened: Promise<Socket>;
  /** Has no effect once it is open. */
  abandon(reason: Error): void;
}

export class Dialing {
  readonly #options: DialOptions;
  readonly #running = new Set<Dial>();
  readonly #securing: Securing;

  constructor(options: DialOptions) {
    this.#options = options;
    this.#securing = new Securing(options.trustOf);
  }

  /** @param reads where bytes go, as of `net.connect`'s `onread`; by events without. */
  start(url: URL, reads?: OnReadOpts): Dial {
    const { clock, connectMs } = this.#options;
    const controller = new AbortController();
    const abandon = (reason: Error) => controller.abort(reason);
    const late = () => abandon(new WireFault("WIRE_CONNECT_TIMEOUT", "no connection in time"));
    const cancelTimer = clock.after(connectMs, late);
    const opened = this.#open(url, controller.signal, reads).finally(() => {
      cancelTimer();
      this.#running.delete(dial);
    });
    opened.catch(() => {});
    const dial = { opened, abandon };
    this.#running.add(dial);
    return dial;
  }

  /** Gives up what is being opened. */
  async close(): Promise<void> {
    const running = [...this.#running];
    for (const dial of running) dial.abandon(new WireFault("WIRE_SHUT", "all connections were closed"));
    await Promise.allSettled(running.map(({ opened }) => opened));
  }

  async #open(url: URL, signal: AbortSignal, reads?: OnReadOpts): Promise<Socket> {
    const { proxies, allowPrivate } = this.#options;
    const host = bare(url.hostname);
    const refusal = refusalOfLiteral(host, allowPrivate);
    if (refusal !== undefined) throw refusal;
    const proxy = proxies.find(url);
    try {
      return await (proxy === undefined
        ? this.#direct(url, host, signal, reads)
        : this.#behind(proxy, url, host, signal, reads));
    } catch (error) {
      if (!isReset(error)) throw error;
      throw new WireFault("WIRE_CLOSED", "the connection was reset while it was opened", false, { cause: error });
    }
  }

  async #direct(url: URL, host: string, signal: AbortSignal, reads?: OnReadOpts): Promise<Socket> {
    const { allowPrivate, network } = this.#options;
    const find = () => judgedAddresses(host, allowPrivate, network.resolve);
    const tls = url.protocol === "https:" ? this.#securing.beginFor(host, url.origin) : undefined;
    return await this.#connect(host, portOf(url), find, tls, signal, reads);
  }

  async #behind(proxy: ProxyServer, url: URL, host: string, signal: AbortSignal, reads?: OnReadOpts): Promise<Socket> {
    const secure = url.protocol === "https:";
    const judged = this.#judgeBehindProxy(host, signal);
    judged.catch(() => {});
    const socket = await this.#toProxy(proxy, signal, secure ? undefined : reads);
    try {
      await judged;
    } catch (error) {
      await closed(socket);
      throw error;
    }
    if (!secure) return socket;
    await this.#tunnel(socket, proxy, `${url.hostname}:${portOf(url)}`, signal);
    const within = this.#securing.beginFor(host, url.origin)({ socket });
    await secured(within, signal);
    // Of a socket within another, Node takes no `onread`.
    if (reads !== undefined) bringTo(within, reads);
    return within;
  }

  /** The proxy itself is not judged: it is no upstream's word. */
  async #toProxy(proxy: ProxyServer, signal: AbortSignal, reads?: OnReadOpts): Promise<Socket> {
    const { name, network } = this.#options;
    const { hostname, port, secure } = proxy;
    const tls = secure ? this.#securing.beginFor(hostname, `proxy ${proxy.host}`) : undefined;
    try {
      return await this.#connect(hostname, port, () => lookupAll(hostname, network.resolve), tls, signal, reads);
    } catch (error) {
      throw failureOfProxy(name, proxy, error);
    }
  }

  async #connect(
    host: string,
    port: number,
    find: () => Promise<string[]>,
    tls: BeginTls | undefined,
    signal: AbortSignal,
    reads?: OnReadOpts,
  ): Promise<Socket> {
    const { network, clock } = this.#options;
    const addresses = isIP(host) === 0 ? await unlessAborted(find(), signal) : [host];
    const detour = network.divert?.(host, port);
    const places = detour === undefined ? addresses.map((address) => ({ address, port })) : [detour];
    const socketTo = ({ address, port }: Place) => {
      const options = {
        host: address,
        port,
        noDelay: true,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
        ...(reads === undefined ? {} : { onread: reads }),
      };
      return tls === undefined ? connect(options) : tls(options);
    };
    const socket = await connectFirst(places, clock, signal, socketTo);
    if (socket instanceof TLSSocket) await secured(socket, signal);
    return socket;
  }

  async #tunnel(socket: Socket, proxy: ProxyServer, target: string, signal: AbortSignal): Promise<void> {
    const { name } = this.#options;
    try {
      const head = await askForTunnel(socket, target, proxy.authorization, signal);
      if (isOpen(head)) return;
      await closed(socket);
      throw refusedByProxy(name, proxy, target, head);
    } catch (error) {
      throw failureOfProxy(name, proxy, error);
    }
  }

  async #judgeBehindProxy(host: string, signal: AbortSignal): Promise<void> {
    const { allowPrivate, network, clock } = this.#options;
    if (isIP(host) !== 0) return;
    const patience = Promise.withResolvers<void>();
    const isOwn = this.#options.isOwn?.(host) === true;
    const cancel = isOwn ? clock.after(LOOKUP_BEHIND_PROXY_MS, patience.resolve) : () => {};
    try {
      const judged = judgedAddresses(host, allowPrivate, network.resolve);
      await unlessAborted(Promise.race([judged, patience.promise]), signal);
    } catch (error) {
      // Out of time, with nobody who judged it.
      signal.throwIfAborted();
      if (error instanceof AddressRefused || errnoOf(error) === undefined) throw error;
    } finally {
      cancel();
    }
  }
}

function portOf({ port, protocol }: URL): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

/** The signal's reason as soon as that aborts; a lookup cannot be called back. */
async function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function closed(socket: Socket): Promise<void> {
  if (socket.closed) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.once("close", () => resolve());
  socket.destroy();
  await promise;
}
