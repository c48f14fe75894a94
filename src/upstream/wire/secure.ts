/**
 * TLS for sockets that are being opened: trusted as the host is, verified by the URL's name, sessions resumed.
 *
 * What is configured for the upstream's own host is never shown to another, and a session only resumed with what it was
 * made with.
 */
import { isIP, type OnReadOpts, type Socket } from "node:net";
import { type ConnectionOptions, checkServerIdentity, connect, type SecureContext, type TLSSocket } from "node:tls";
import { WireFault } from "./fault.ts";

/** Sessions to be resumed; one for each host, the oldest forgotten first. */
const MAX_SESSIONS = 64;

export interface Trust {
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: boolean;
}

/** Begins TLS to a host; `more` says where to, or over which socket. */
export type BeginTls = (more: ConnectionOptions & { onread?: OnReadOpts }) => TLSSocket;

export class Securing {
  readonly #trustOf: (hostname: string) => Trust;
  readonly #sessions = new WeakMap<SecureContext, Map<string, Buffer>>();

  constructor(trustOf: (hostname: string) => Trust) {
    this.#trustOf = trustOf;
  }

  /** @param label under which sessions are kept. */
  beginFor(host: string, label: string): BeginTls {
    const { secureContext, rejectUnauthorized } = this.#trustOf(host);
    const sessions = this.#sessions.get(secureContext) ?? new Map<string, Buffer>();
    this.#sessions.set(secureContext, sessions);
    const session = sessions.get(label);
    const name = host.replace(/\.$/, "");
    return (more) => {
      const socket = connect({
        ...more,
        secureContext,
        rejectUnauthorized,
        // A name for SNI is none where it is an address (RFC 6066 §3); the address is what the certificate is held against.
        servername: isIP(host) === 0 ? name : "",
        checkServerIdentity: (_name, certificate) => checkServerIdentity(name, certificate),
        ALPNProtocols: ["http/1.1"],
        ...(session === undefined ? {} : { session }),
      });
      socket.on("session", (fresh) => remember(sessions, label, fresh));
      return socket;
    };
  }
}

function remember(sessions: Map<string, Buffer>, label: string, session: Buffer): void {
  sessions.delete(label);
  sessions.set(label, session);
  const oldest = sessions.keys().next().value;
  if (sessions.size > MAX_SESSIONS && oldest !== undefined) sessions.delete(oldest);
}

/** Resolves when its handshake is done. Rejects when it is closed, with what it failed with or the signal's reason. */
export async function secured(socket: TLSSocket, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let failure: Error | undefined;
  const onAbort = () => socket.destroy(signal.reason);
  const onClose = () => reject(failure ?? new WireFault("WIRE_CLOSED", "closed while it was opened"));
  // Stays for good: between two owners nobody else would listen.
  socket.on("error", (error) => {
    failure ??= error;
  });
  socket.once("secureConnect", resolve);
  socket.once("close", onClose);
  signal.addEventListener("abort", onAbort, { once: true });
  if (socket.closed) onClose();
  if (signal.aborted) onAbort();
  try {
    await promise;
  } finally {
    socket.off("close", onClose);
    signal.removeEventListener("abort", onAbort);
  }
}

/** What `onread` does, for a socket within another, where Node takes none: the bytes are copied once more. */
export function bringTo(socket: Socket, { buffer, callback }: OnReadOpts): void {
  socket.on("data", (bytes: Buffer) => {
    for (let at = 0; at < bytes.length; ) {
      const memory = typeof buffer === "function" ? buffer() : buffer;
      const count = Math.min(memory.length, bytes.length - at);
      memory.set(bytes.subarray(at, at + count));
      at += count;
      const on = callback(count, memory);
      if (socket.destroyed) return;
      if (!on) {
        socket.pause();
        if (at < bytes.length) socket.unshift(bytes.subarray(at));
        return;
      }
    }
  });
}
