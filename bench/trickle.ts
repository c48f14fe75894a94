/**
 * Many slow readers: sockets that take a little every second, and leave the rest in the kernel and with the server.
 */
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { TrickleJob, TrickleResult } from "./jobs.ts";

/** Opened at a time: no more than a listen queue takes. */
const BATCH = 100;
const TURN_MS = 1000;

interface Reader {
  readonly socket: Socket;
  bytes: number;
  right: boolean;
}

export async function trickle(job: TrickleJob): Promise<TrickleResult> {
  // Read into one buffer by all: nobody looks at it.
  const shared = Buffer.allocUnsafeSlow(job.bytesPerSecond);
  const readers: Reader[] = [];
  const startedAt = performance.now();
  try {
    while (readers.length < job.readers) {
      const count = Math.min(BATCH, job.readers - readers.length);
      readers.push(...(await Promise.all(Array.from({ length: count }, () => open(job, shared)))));
    }
    while (performance.now() - startedAt < job.seconds * 1000) {
      await sleep(TURN_MS);
      for (const { socket } of readers) if (!socket.destroyed) socket.resume();
    }
    return {
      reading: readers.filter(({ socket, right }) => right && !socket.destroyed).length,
      bytes: readers.reduce((sum, { bytes }) => sum + bytes, 0),
    };
  } finally {
    for (const { socket } of readers) socket.destroy();
  }
}

function open({ target }: TrickleJob, shared: Buffer): Promise<Reader> {
  return new Promise((resolve, reject) => {
    let reader: Reader | undefined;
    const callback = (count: number) => {
      if (reader === undefined) return false;
      if (reader.bytes === 0) reader.right = shared.toString("latin1", 0, 12) === "HTTP/1.1 200";
      reader.bytes += count;
      // Enough for this turn.
      return false;
    };
    const onread = { buffer: shared, callback };
    const socket = connect({ host: "127.0.0.1", port: target.port, noDelay: true, onread }, () => {
      socket.write(`GET ${target.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n`);
      if (reader !== undefined) resolve(reader);
    });
    reader = { socket, bytes: 0, right: false };
    socket.on("error", reject);
  });
}
