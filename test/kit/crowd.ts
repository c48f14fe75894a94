/**
 * Thousands of connections that say nothing, held by a process of their own: `node crowd.ts PORT COUNT`. Says how many
 * are open, once all are; ends, and they with it, when its standard input does.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";

export class Crowd implements AsyncDisposable {
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async gather(port: number, count: number): Promise<Crowd> {
    const child = spawn(process.execPath, [import.meta.filename, String(port), String(count)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const crowd = new Crowd(child);
    const [said] = (await once(child.stdout, "data")) as [Buffer];
    if (Number(said) === count) return crowd;
    await crowd[Symbol.asyncDispose]();
    throw new Error(`${Number(said)} of ${count} connections were opened`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin?.end();
    await ended;
  }
}

async function hold(port: number, count: number): Promise<void> {
  let open = 0;
  const one = () =>
    new Promise<void>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
        open += 1;
        resolve();
      });
      socket.on("error", () => resolve());
    });
  // A backlog is not endless.
  for (let at = 0; at < count; at += 500) await Promise.all(Array.from({ length: Math.min(500, count - at) }, one));
  process.stdout.write(`${open}\n`);
  process.stdin.resume().once("end", () => process.exit());
}

if (process.argv[1] === import.meta.filename) await hold(Number(process.argv[2]), Number(process.argv[3]));
