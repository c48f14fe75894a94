/**
 * Opening sockets: to allowed addresses only, with TLS as the host is trusted, bytes read into memory of the caller's.
 *
 * The address that was judged is the one that is connected to (`addresses.ts`). What is configured for the upstream's own
 * host is never shown to another.
 */
import { isIP, type LookupFunction, connect as netConnect, type Socket } from "node:net";
import { checkServerIdentity, type SecureContext, connect as tlsConnect } from "node:tls";
import { checkedLookup, refusalOfLiteral } from "../addresses.ts";
import type { Network } from "../network.ts";

const KEEP_ALIVE_PROBE_MS = 60_000;
/** Sessions to be resumed; one for each host, the oldest forgotten first. */
const MAX_SESSIONS = 64;

export interface Trust {
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: boolean;
}

export interface DialOptions {
  readonly allowPrivate: boolean;
  readonly trustOf: (hostname: string) => Trust;
  readonly network: Network;
}

/** Where reads go; `buffer` is called before the first and after each. */
export interface Reads {
  readonly buffer: () => Uint8Array;
  /** False stops reading until `socket.resume()`. */
  readonly callback: (count: number, memory: Uint8Array) => boolean;
}

export interface Dialled {
  readonly socket: Socket;
  /** The event that says it may be written to. */
  readonly ready: "connect" | "secureConnect";
}

export class Dialing {
  readonly #options: DialOptions;
  readonly #lookup: LookupFunction;
  readonly #sessions = new Map<string, Buffer>();

  constructor(options: DialOptions) {
    this.#options = options;
    this.#lookup = checkedLookup(options.allowPrivate, options.network.resolve);
  }

  /** A socket that is connecting. @throws AddressRefused */
  start(url: URL, reads?: Reads): Dialled {
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const refusal = refusalOfLiteral(host, this.#options.allowPrivate);
    if (refusal !== undefined) throw refusal;
    const secure = url.protocol === "https:";
    const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
    const detour = this.#options.network.divert?.(host, port);
    const shared = {
      // A literal is judged by now, a name is judged as it is looked up, wherever the socket goes then.
      host: detour !== undefined && isIP(host) !== 0 ? detour.address : host,
      port: detour?.port ?? port,
      lookup: detour === undefined ? this.#lookup : this.#lookupTo(detour.address),
      autoSelectFamily: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
      ...(reads === undefined ? {} : { onread: reads }),
    };
    if (!secure) return { socket: netConnect(shared), ready: "connect" };
    const { secureContext, rejectUnauthorized } = this.#options.trustOf(host);
    const session = this.#sessions.get(url.origin);
    const socket = tlsConnect({
      ...shared,
      secureContext,
      rejectUnauthorized,
      // A name for SNI is none where it is an address (RFC 6066 §3); the address is what the certificate is held against.
      servername: isIP(host) === 0 ? host : "",
      checkServerIdentity: (_address, certificate) => checkServerIdentity(host, certificate),
      ALPNProtocols: ["http/1.1"],
      ...(session === undefined ? {} : { session }),
    });
    socket.on("session", (fresh) => this.#remember(url.origin, fresh));
    return { socket, ready: "secureConnect" };
  }

  /** Looks up and judges as ever, and answers `address` then. */
  #lookupTo(address: string): LookupFunction {
    return (hostname, options, callback) => {
      this.#lookup(hostname, options, (error) => {
        if (error !== null) callback(error, "");
        else if (options.all === true) callback(null, [{ address, family: isIP(address) }]);
        else callback(null, address, isIP(address));
      });
    };
  }

  #remember(origin: string, session: Buffer): void {
    this.#sessions.delete(origin);
    this.#sessions.set(origin, session);
    const oldest = this.#sessions.keys().next().value;
    if (this.#sessions.size > MAX_SESSIONS && oldest !== undefined) this.#sessions.delete(oldest);
  }
}
