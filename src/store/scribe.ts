/**
 * The thread that hashes and writes, seen from the loop that answers clients.
 *
 * It is started with the first file and holds the process only while files are open. If it dies, those files fail, and
 * the next one starts another thread. Descriptors and slabs are shared with it: neither is let go of before it is done.
 */
import { Worker } from "node:worker_threads";
import { Failure, messageOf } from "../base/failure.ts";
import type { Digest, DigestAlgorithm } from "../oci/digest.ts";
import type { Files } from "./files.ts";
import type { Pen, PenOwner, Piece } from "./pen.ts";
import type { Order, Report } from "./scribe-thread.ts";
import { Slabs } from "./slabs.ts";

const THREAD = new URL(`./scribe-thread.${import.meta.url.endsWith(".ts") ? "ts" : "js"}`, import.meta.url);

export class Scribe {
  readonly slabs: Slabs;
  readonly #program: Files["thread"];
  #thread: Thread | undefined;
  #stopped = false;

  /** @param program another one than the store's own, which runs that. */
  constructor(slabs = new Slabs(), program?: Files["thread"]) {
    this.slabs = slabs;
    this.#program = program;
    slabs.onDropped = (id) => this.#thread?.forget(id);
  }

  /**
   * Starts a file. The descriptor must stay open until `end` of the pen resolves.
   * @param prefixBytes what is in it already; it is read, and hashed before all that comes.
   */
  open(fd: number, algorithm: DigestAlgorithm, owner: PenOwner, prefixBytes = 0): Pen {
    if (this.#stopped) throw new Failure("storage", "the store is closed");
    if (this.#thread === undefined || this.#thread.over) this.#thread = new Thread(this.#program);
    return this.#thread.open(fd, algorithm, owner, prefixBytes);
  }

  /** Ends the thread; files that are still open fail. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#thread?.stop();
  }
}

/** One life of the thread. */
class Thread {
  readonly #worker: Worker;
  readonly #exited = Promise.withResolvers<void>();
  readonly #pens = new Map<number, ThreadPen>();
  readonly #known = new Set<number>();
  #serial = 0;
  #reason = "it ended";
  over = false;

  constructor(program: Files["thread"]) {
    const { url = THREAD, data } = program ?? {};
    // Messages are its only garbage: with the usual room for it, they would fill that.
    const resourceLimits = { maxYoungGenerationSizeMb: 2 };
    this.#worker = new Worker(url, { name: "scribe", resourceLimits, workerData: data });
    this.#worker.unref();
    this.#worker.on("message", (reports: Report[]) => {
      for (const report of reports) this.#pens.get(report.file)?.hear(report);
    });
    this.#worker.on("error", (error) => {
      this.over = true;
      this.#reason = messageOf(error);
    });
    this.#worker.on("exit", () => {
      this.over = true;
      const failure = new Failure("storage", `the thread that writes to the cache directory has died: ${this.#reason}`);
      for (const pen of this.#pens.values()) pen.die(failure);
      this.#pens.clear();
      this.#exited.resolve();
    });
  }

  open(fd: number, algorithm: DigestAlgorithm, owner: PenOwner, prefixBytes: number): Pen {
    this.#serial += 1;
    const file = this.#serial;
    if (this.#pens.size === 0) this.#worker.ref();
    const pen = new ThreadPen(owner, {
      order: (piece) => this.#write(file, piece),
      finish: () => this.#post({ do: "finish", file }),
      end: () => this.#post({ do: "end", file }),
      ended: () => this.#forgetPen(file),
    });
    this.#pens.set(file, pen);
    this.#post({ do: "open", file, fd, algorithm, prefixBytes });
    return pen;
  }

  forget(slab: number): void {
    if (this.#known.delete(slab)) this.#post({ do: "forget", slab });
  }

  async stop(): Promise<void> {
    this.#reason = "the store is closed";
    void this.#worker.terminate();
    await this.#exited.promise;
  }

  #write(file: number, { from, bytes, at }: Piece): void {
    const slab = from?.slab;
    if (slab === undefined) throw new Error("bytes that are not shared cannot be handed over");
    const memory = this.#known.has(slab.id) ? undefined : slab.memory;
    this.#known.add(slab.id);
    const { byteOffset: start, length } = bytes;
    this.#post({ do: "write", file, slab: slab.id, memory, start, length, at });
  }

  #post(order: Order): void {
    this.#worker.postMessage(order);
  }

  #forgetPen(file: number): void {
    this.#pens.delete(file);
    if (this.#pens.size === 0) this.#worker.unref();
  }
}

interface Orders {
  order(piece: Piece): void;
  finish(): void;
  end(): void;
  ended(): void;
}

class ThreadPen implements Pen {
  readonly #owner: PenOwner;
  readonly #orders: Orders;
  /** Answered in this order. */
  readonly #pieces: Piece[] = [];
  #digest: PromiseWithResolvers<Digest> | undefined;
  #ended: PromiseWithResolvers<void> | undefined;
  #failure: Failure | undefined;
  #dead = false;

  constructor(owner: PenOwner, orders: Orders) {
    this.#owner = owner;
    this.#orders = orders;
  }

  write(piece: Piece): void {
    if (this.#dead) {
      this.#owner.done(piece);
      return;
    }
    this.#pieces.push(piece);
    this.#orders.order(piece);
  }

  async finish(): Promise<Digest> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#digest = Promise.withResolvers();
    this.#orders.finish();
    return await this.#digest.promise;
  }

  async end(): Promise<void> {
    if (this.#dead) return;
    if (this.#ended === undefined) {
      this.#ended = Promise.withResolvers();
      this.#orders.end();
    }
    await this.#ended.promise;
  }

  hear(report: Report): void {
    if (report.told === "done") for (let left = report.pieces; left > 0; left -= 1) this.#next();
    else if (report.told === "digest") this.#digest?.resolve(report.digest);
    else if (report.told === "ended") this.#end();
    else {
      const cause = Object.assign(new Error(report.message), { code: report.code });
      this.#fail(new Failure("storage", `cannot write to the cache directory: ${report.message}`, { cause }));
    }
  }

  /** The thread is gone: nothing of it touches memory or descriptors any more. */
  die(failure: Failure): void {
    this.#dead = true;
    // Before what was not written is told to be done.
    this.#fail(failure);
    while (this.#pieces.length > 0) this.#next();
    this.#ended?.resolve();
  }

  #next(): void {
    const piece = this.#pieces.shift();
    if (piece !== undefined) this.#owner.done(piece);
  }

  #fail(failure: Failure): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#digest?.reject(failure);
    this.#owner.failed(failure);
  }

  #end(): void {
    this.#dead = true;
    this.#ended?.resolve();
    this.#orders.ended();
  }
}
