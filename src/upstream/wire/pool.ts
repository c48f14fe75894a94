/**
 * Connections to wherever one upstream's blobs are: kept for the next request, and never more of them open than allowed.
 *
 * A request that finds all in use waits by its own signal; an idle connection to elsewhere gives way to a new one.
 */
import type { Clock } from "../../base/clock.ts";
import { wasStaleConnection } from "../exchange/trouble.ts";
import { Slots } from "../limits/slots.ts";
import { Connection, type ConnectionParts, type WireAnswer, type WireTimeouts } from "./connection.ts";
import type { Dialing } from "./dialing.ts";
import { WireFault } from "./fault.ts";

/** What a field may hold (RFC 9110 §5.5); tokens in ours come from other servers. */
const FIELD = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t\x20-\x7e\x80-\xff]*$/;
/** A path, or the whole URL where a proxy is asked for it (RFC 9112 §3.2). */
const TARGET = /^(?:http:\/\/[\x21-\x7e]+)?\/[\x21-\x7e]*$/;
/** Kept connections are left after so long, so that another answer of the DNS is followed. */
export const MAX_AGE_MS = 5 * 60_000;

export interface PoolOptions {
  readonly dialing: Dialing;
  readonly timeouts: WireTimeouts;
  readonly clock: Clock;
  /** How many connections may be open, to all hosts together. */
  readonly connections: number;
}

export interface PoolRequest {
  readonly method: string;
  /** What the request line names. */
  readonly target: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Governs the body as well. */
  readonly signal: AbortSignal;
}

export class Pool {
  readonly #limit: number;
  readonly #parts: ConnectionParts;
  readonly #slots: Slots;
  readonly #open = new Set<Connection>();
  /** The one that was used last comes last. */
  readonly #idle = new Set<Connection>();
  /** What each running request holds. */
  readonly #releases = new Map<Connection, () => void>();
  #shut = false;

  constructor({ dialing, timeouts, clock, connections }: PoolOptions) {
    this.#limit = connections;
    this.#slots = new Slots(connections);
    this.#parts = {
      dialing,
      timeouts,
      clock,
      onFree: (connection, keepMs) => this.#freed(connection, keepMs),
      onClose: (connection) => {
        this.#idle.delete(connection);
        this.#open.delete(connection);
      },
    };
  }

  /**
   * One exchange. Rejects with whatever the connection failed with, or the signal's reason.
   * The body holds its connection until it is read to its end or destroyed.
   */
  async request(url: URL, { method, target, headers, signal }: PoolRequest): Promise<WireAnswer> {
    const head = headOf(url, method, target, headers);
    const release = await this.#slots.take(signal);
    let connection: Connection | undefined;
    try {
      signal.throwIfAborted();
      if (this.#shut) throw new WireFault("WIRE_SHUT", "all connections were closed");
      connection = this.#take(url);
      this.#releases.set(connection, release);
      return await connection.ask({ method, head, signal });
    } catch (error) {
      if (connection !== undefined) this.#releases.delete(connection);
      release();
      // Its neighbours were probably closed with it.
      if (wasStaleConnection(error)) this.#forget(url.origin);
      throw error;
    }
  }

  /** Ends all connections; running requests fail. */
  async close(): Promise<void> {
    this.#shut = true;
    const open = [...this.#open];
    for (const connection of open) connection.destroy(new WireFault("WIRE_SHUT", "all connections were closed"));
    await Promise.all(open.map((connection) => connection.closed));
  }

  #take(url: URL): Connection {
    for (const connection of [...this.#idle]) if (this.#isOld(connection)) this.#discard(connection);
    const kept = [...this.#idle].findLast(({ origin, usable }) => usable && origin === url.origin);
    if (kept !== undefined) {
      this.#idle.delete(kept);
      return kept;
    }
    // Slots bound those in use, so what is too many is idle.
    for (const connection of this.#idle) {
      if (this.#open.size < this.#limit) break;
      this.#discard(connection);
    }
    const fresh = new Connection(url, this.#parts);
    this.#open.add(fresh);
    return fresh;
  }

  #freed(connection: Connection, keepMs: number): void {
    if (keepMs > 0 && !this.#shut && !this.#isOld(connection)) {
      this.#idle.add(connection);
      connection.idle(keepMs);
    } else this.#discard(connection);
    this.#releases.get(connection)?.();
    this.#releases.delete(connection);
  }

  #isOld({ bornAt }: Connection): boolean {
    return this.#parts.clock.now() - bornAt > MAX_AGE_MS;
  }

  #forget(origin: string): void {
    for (const connection of [...this.#idle]) if (connection.origin === origin) this.#discard(connection);
  }

  #discard(connection: Connection): void {
    this.#idle.delete(connection);
    // Its socket is let go of at once, though it says so later.
    this.#open.delete(connection);
    connection.destroy();
  }
}

/** @throws Error for what would be read as something else than it is. */
function headOf(url: URL, method: string, target: string, headers: Readonly<Record<string, string>>): string {
  if (!TARGET.test(target)) throw new Error("a path that cannot be sent");
  const fields = Object.entries({ host: url.host, connection: "keep-alive", ...headers }).map(
    ([name, value]) => `${name}: ${value}`,
  );
  if (!fields.every((field) => FIELD.test(field))) throw new Error("a header that cannot be sent");
  return `${method} ${target} HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`;
}
