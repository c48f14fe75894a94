/**
 * An address that takes no connection and says nothing, as one behind a firewall: a listener whose queue is full.
 */
import { connect, type Socket } from "node:net";
import type { TestContext } from "node:test";
import { Worker } from "node:worker_threads";

const LISTENER = `
const { createServer } = require("node:net");
const { parentPort, workerData } = require("node:worker_threads");
createServer().listen({ port: workerData.port, host: workerData.host, backlog: 1 }, function () {
  parentPort.postMessage(this.address().port);
  // Its thread never comes round to accepting.
  Atomics.wait(new Int32Array(workerData.held), 0, 0);
});
`;

/** Its port; gone when the test ends. */
export async function dropAll(t: TestContext, host: string, port = 0): Promise<number> {
  const held = new SharedArrayBuffer(4);
  const worker = new Worker(LISTENER, { eval: true, workerData: { host, port, held } });
  const sockets: Socket[] = [];
  t.after(async () => {
    for (const socket of sockets) socket.destroy();
    await worker.terminate();
  });
  const found = await new Promise<number>((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
  });
  // Filled until one is left waiting.
  for (let full = false; !full && sockets.length < 16; ) {
    const socket = connect({ host, port: found });
    socket.on("error", () => {});
    sockets.push(socket);
    full = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(true), 150);
      socket.once("connect", () => {
        clearTimeout(timer);
        resolve(false);
      });
    });
  }
  return found;
}
