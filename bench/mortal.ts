/**
 * A line to the upstream that can be cut and mended: while it is cut, its port refuses connections and all that there
 * were are ended, as when the upstream itself dies; and it counts what it brings towards the mirror.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePort } from "../test/e2e/processes.ts";

export class MortalLine {
  readonly port: number;
  /** From the upstream, headers included. */
  bytes = 0;
  readonly #targetPort: number;
  readonly #onBytes: (line: MortalLine) => void;
  readonly #open = new Set<Socket>();
  #server: Server | undefined;

  private constructor(port: number, targetPort: number, onBytes: (line: MortalLine) => void) {
    this.port = port;
    this.#targetPort = targetPort;
    this.#onBytes = onBytes;
  }

  /** @param onBytes called whenever bytes were brought; may cut it. */
  static async open(targetPort: number, onBytes: (line: MortalLine) => void): Promise<MortalLine> {
    const line = new MortalLine(await freePort(), targetPort, onBytes);
    await line.mend();
    return line;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Ends all connections, at once, and takes no new ones. */
  async cut(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
    for (const socket of this.#open) socket.destroy();
    await closed;
  }

  /** Takes connections again, where it did before. */
  async mend(): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (mirror) => this.#join(mirror));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.port, "127.0.0.1", resolve);
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.cut();
  }

  #join(mirror: Socket): void {
    const upstream = connect({ host: "127.0.0.1", port: this.#targetPort, allowHalfOpen: true });
    for (const [one, other] of [
      [mirror, upstream],
      [upstream, mirror],
    ] as const) {
      this.#open.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#open.delete(one);
        other.destroy();
      });
    }
    mirror.pipe(upstream);
    upstream.on("end", () => mirror.end());
    mirror.on("drain", () => upstream.resume());
    upstream.on("data", (chunk: Buffer) => {
      this.bytes += chunk.length;
      if (!mirror.write(chunk)) upstream.pause();
      this.#onBytes(this);
    });
  }
}
