/**
 * A far network in front of a near server: `node bench/shim.ts <port of the server> <one way ms> <bit/s>`. A process of
 * its own; writes its port to standard output, ends with its parent.
 *
 * Every byte takes the given time each way, towards the client at no more than the given rate per connection. A new
 * connection costs the round trip that its handshake would.
 */
import { connect, createServer, type Socket } from "node:net";
import { Pace } from "./pace.ts";

const CHUNK_BYTES = 64 * 1024;
/** For so long this process may not get its turn without the line losing speed. */
const LATE_MS = 250;
/** Below a timer's precision nothing can be delayed. */
const TICK_MS = 1;

interface Held {
  readonly chunk: Buffer;
  readonly dueAt: number;
}

/** One direction: holds what was read until it is due. */
class Lane {
  readonly #to: Socket;
  readonly #from: Socket;
  readonly #pace: Pace;
  readonly #limitBytes: number;
  readonly #held: Held[] = [];
  #heldBytes = 0;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(from: Socket, to: Socket, pace: Pace, limitBytes: number) {
    this.#from = from;
    this.#to = to;
    this.#pace = pace;
    this.#limitBytes = limitBytes;
    from.on("data", (data: Buffer) => this.#take(data));
    from.on("end", () => {
      this.#ended = true;
      this.#release();
    });
    to.on("drain", () => this.#release());
    to.on("close", () => clearTimeout(this.#timer));
  }

  #take(data: Buffer): void {
    const now = performance.now();
    for (let at = 0; at < data.length; at += CHUNK_BYTES) {
      const chunk = data.subarray(at, at + CHUNK_BYTES);
      this.#held.push({ chunk, dueAt: this.#pace.dueAt(chunk.length, now) });
      this.#heldBytes += chunk.length;
    }
    if (this.#heldBytes > this.#limitBytes) this.#from.pause();
    this.#release();
  }

  #release(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#to.destroyed) return;
    const now = performance.now();
    for (;;) {
      const [next] = this.#held;
      // What the client does not take waits here, and then in the server.
      if (next === undefined || this.#to.writableNeedDrain) break;
      if (next.dueAt > now) {
        this.#timer = setTimeout(() => this.#release(), Math.max(TICK_MS, next.dueAt - now));
        break;
      }
      this.#held.shift();
      this.#heldBytes -= next.chunk.length;
      this.#to.write(next.chunk);
    }
    if (this.#heldBytes <= this.#limitBytes && this.#from.isPaused()) this.#from.resume();
    if (this.#ended && this.#held.length === 0) this.#to.end();
  }
}

const [targetPort, delayMs, bitsPerSecond] = process.argv.slice(2).map(Number);
if (targetPort === undefined || delayMs === undefined || bitsPerSecond === undefined) {
  throw new Error("shim.ts <port of the server> <one way ms> <bit/s>");
}

const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  const origin = connect({ host: "127.0.0.1", port: targetPort, allowHalfOpen: true, noDelay: true });
  for (const [one, other] of [
    [client, origin],
    [origin, client],
  ] as const) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
  }
  const openedAt = performance.now();
  const bytesPerMs = bitsPerSecond / 8 / 1000;
  // Far more than is on the way: while the server has more to send, the line must not run dry, however late our turn.
  const windowBytes = bytesPerMs * (delayMs + LATE_MS);
  new Lane(
    client,
    origin,
    new Pace({ delayMs, bytesPerMs: Number.POSITIVE_INFINITY, notBefore: openedAt + 3 * delayMs }),
    windowBytes,
  );
  new Lane(origin, client, new Pace({ delayMs, bytesPerMs }), windowBytes);
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (typeof address === "object" && address !== null) process.stdout.write(`${address.port}\n`);
});
// The parent holds the other end; when it is gone, so are we.
process.on("disconnect", () => process.exit());
