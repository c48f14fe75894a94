/**
 * One connection to one origin: a request, the head of its answer, its body, and the next request.
 *
 * The invariants: one exchange at a time; bytes that nobody asked for end it; it is offered again only after an answer
 * that ended exactly where it said, and said nothing against it. While idle it does not hold the process.
 */
import type { Socket } from "node:net";
import type { Clock } from "../../base/clock.ts";
import type { Flow } from "../../base/flow.ts";
import type { Dial, Dialing } from "./dialing.ts";
import { isReset, malformed, WireFault } from "./fault.ts";
import { framingOf } from "./framing.ts";
import { type Head, HeadReader } from "./head.ts";
import { Intake } from "./intake.ts";
import { keepMsOf } from "./keeping.ts";

/** Where heads and framing arrive, and what comes while no sink has memory for it. */
const LOBBY_BYTES = 64 * 1024;
const MAX_INTERIM = 8;

export interface WireTimeouts {
  readonly headersMs: number;
  readonly bodyMs: number;
}

export interface WireRequest {
  readonly method: string;
  /** Request line and headers, as they are sent. */
  readonly head: string;
  readonly signal: AbortSignal;
}

export interface WireAnswer {
  readonly status: number;
  readonly headers: Head["headers"];
  readonly body: Flow;
}

export interface ConnectionParts {
  readonly dialing: Dialing;
  readonly timeouts: WireTimeouts;
  readonly clock: Clock;
  /** An exchange is over: the connection may be used again for `keepMs`, or not at all where that is 0. */
  readonly onFree: (connection: Connection, keepMs: number) => void;
  readonly onClose: (connection: Connection) => void;
}

/** From the request to the last byte of its answer. */
interface Exchange {
  readonly method: string;
  readonly reader: HeadReader;
  readonly answered: PromiseWithResolvers<WireAnswer>;
  readonly release: () => void;
  cancelTimer: () => void;
  heard: boolean;
  interim: number;
  keepMs: number;
  intake: Intake | undefined;
}

export class Connection {
  readonly origin: string;
  /** By the clock, when it began to connect. */
  readonly bornAt: number;
  /** Resolves when its socket is gone. */
  readonly closed: Promise<void>;
  readonly #parts: ConnectionParts;
  readonly #dial: Dial;
  readonly #gone = Promise.withResolvers<void>();
  #socket: Socket | undefined;
  readonly #lobby = Buffer.allocUnsafeSlow(LOBBY_BYTES);
  readonly #opened: Promise<void>;
  #exchange: Exchange | undefined;
  /** Answers before this one. */
  #answers = 0;
  #stopped = false;
  #givenUp = false;
  #failure: Error | undefined;

  /** Begins to connect. */
  constructor(url: URL, parts: ConnectionParts) {
    this.origin = url.origin;
    this.bornAt = parts.clock.now();
    this.closed = this.#gone.promise;
    this.#parts = parts;
    this.#dial = parts.dialing.start(url, {
      buffer: () => this.#exchange?.intake?.space() ?? this.#lobby,
      callback: (count, memory) => this.#read(count, memory),
    });
    this.#opened = this.#open();
    this.#opened.catch(() => {});
  }

  /** Rejects with what kept it from a whole head: of the connection, a `WireFault`, the signal's reason. */
  async ask({ method, head, signal }: WireRequest): Promise<WireAnswer> {
    const answered = Promise.withResolvers<WireAnswer>();
    answered.promise.catch(() => {});
    const onAbort = () => this.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    const exchange: Exchange = {
      method,
      reader: new HeadReader(),
      answered,
      release: () => {
        exchange.cancelTimer();
        signal.removeEventListener("abort", onAbort);
      },
      cancelTimer: () => {},
      heard: false,
      interim: 0,
      keepMs: 0,
      intake: undefined,
    };
    this.#exchange = exchange;
    signal.addEventListener("abort", onAbort, { once: true });
    this.#socket?.setTimeout(0);
    this.#socket?.ref();
    try {
      await this.#opened;
    } catch (error) {
      exchange.release();
      throw this.#failure ?? error;
    }
    if (this.#exchange === exchange && this.#failure === undefined) {
      const { clock, timeouts } = this.#parts;
      const late = () => this.destroy(new WireFault("WIRE_HEADERS_TIMEOUT", "no headers came in time"));
      exchange.cancelTimer = clock.after(timeouts.headersMs, late);
      this.#socket?.write(head, "latin1");
    }
    return await answered.promise;
  }

  /** False from the moment that it is known to end. */
  get usable(): boolean {
    return this.#socket?.destroyed === false;
  }

  /** Offered for other requests; closed after `keepMs`. */
  idle(keepMs: number): void {
    this.#socket?.unref();
    this.#socket?.setTimeout(keepMs);
  }

  destroy(error?: Error): void {
    this.#givenUp = true;
    if (error !== undefined) this.#fail(error);
    this.#dial.abandon(error ?? new WireFault("WIRE_CLOSED", "the connection was given up"));
    this.#socket?.destroy();
  }

  async #open(): Promise<void> {
    try {
      const socket = await this.#dial.opened;
      this.#socket = socket;
      socket.on("error", (error) => this.#broken(error));
      socket.on("end", () => this.#broken(undefined));
      socket.on("timeout", () => this.#silent());
      socket.once("close", () => {
        this.#broken(undefined);
        this.#end();
      });
      // Nobody waits for it any more.
      if (this.#givenUp) socket.destroy();
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
      this.#end();
      throw error;
    }
  }

  #end(): void {
    this.#parts.onClose(this);
    this.#gone.resolve();
  }

  /** @returns whether to read on. */
  #read(count: number, memory: Uint8Array): boolean {
    const exchange = this.#exchange;
    if (exchange === undefined) {
      this.destroy(malformed("bytes that nobody asked for"));
      return false;
    }
    const { intake } = exchange;
    if (intake === undefined) this.#readHead(exchange, this.#lobby.subarray(0, count));
    else if (memory === this.#lobby) intake.take(this.#lobby.subarray(0, count));
    else intake.filled(count);
    // After the body: the end of an idle connection has to be seen.
    const on = this.#exchange === undefined || (exchange.intake?.hungry ?? true);
    if (!on) this.#stopped = true;
    return on;
  }

  #readHead(exchange: Exchange, bytes: Uint8Array): void {
    const { reader, method } = exchange;
    exchange.heard = true;
    try {
      for (let at = reader.feed(bytes); ; at = reader.feed(bytes, at)) {
        const head = reader.head;
        if (head === undefined) return;
        if (head.status >= 200) {
          this.#begin(exchange, head, new Intake(framingOf(method, head), this.#lineOf(exchange)), bytes.subarray(at));
          return;
        }
        exchange.interim += 1;
        if (head.status === 101 || exchange.interim > MAX_INTERIM) throw malformed("an interim answer to no question");
        reader.again();
      }
    } catch (error) {
      this.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #begin(exchange: Exchange, head: Head, intake: Intake, rest: Uint8Array): void {
    exchange.cancelTimer();
    exchange.intake = intake;
    exchange.keepMs = exchange.interim > 0 ? 0 : keepMsOf(head);
    intake.settle(rest.length === 0);
    if (rest.length > 0) intake.take(rest);
    exchange.answered.resolve({ status: head.status, headers: head.headers, body: intake });
  }

  #lineOf(exchange: Exchange) {
    return {
      resume: () => {
        if (this.#exchange !== exchange) return;
        // What we did not read is not the other side's silence.
        this.#socket?.setTimeout(this.#parts.timeouts.bodyMs);
        this.#stopped = false;
        this.#socket?.resume();
      },
      ended: (exact: boolean) => this.#over(exchange, exact ? exchange.keepMs : 0),
      cut: () => this.#over(exchange, 0),
    };
  }

  #over(exchange: Exchange, keepMs: number): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = undefined;
    this.#answers += 1;
    exchange.release();
    const keep = this.usable ? keepMs : 0;
    if (keep === 0) this.#socket?.destroy();
    else if (this.#stopped) this.#socket?.resume();
    this.#stopped = false;
    this.#parts.onFree(this, keep);
  }

  #silent(): void {
    if (this.#exchange === undefined) this.#socket?.destroy();
    else if (!this.#stopped) this.destroy(new WireFault("WIRE_BODY_TIMEOUT", "the other side stopped sending"));
  }

  /** The socket ended, or failed. What it brought before is still handed over. */
  #broken(error: Error | undefined): void {
    const exchange = this.#exchange;
    if (exchange?.intake === undefined) {
      const stale = this.#answers > 0 && exchange?.heard === false;
      const ended = () => new WireFault("WIRE_CLOSED", "the other side ended the connection", stale, { cause: error });
      this.#fail(error === undefined || isReset(error) ? ended() : error);
      this.#socket?.destroy();
      return;
    }
    exchange.intake.endOfConnection(error);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    if (exchange.intake !== undefined) {
      exchange.intake.fail(error);
      return;
    }
    this.#exchange = undefined;
    exchange.release();
    exchange.answered.reject(error);
    this.#parts.onFree(this, 0);
  }
}
