/**
 * The store's thread on a disk that fails when it is told to; for `FaultyFiles`, which tells it by shared memory: which
 * error, after how many writes, and how many times.
 */
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { workerData } from "node:worker_threads";
import { diskError, ERRNOS } from "./faulty-files.ts";

const fault = new Int32Array(workerData as SharedArrayBuffer);
const writeSync = fs.writeSync;

const faulty = (...args: Parameters<typeof writeSync>): number => {
  const errno = ERRNOS[(fault[0] ?? 0) - 1];
  if (errno !== undefined) {
    if (Atomics.sub(fault, 1, 1) <= 0 && Atomics.sub(fault, 2, 1) > 0) throw diskError(errno, "write");
  }
  return writeSync(...args);
};
Object.assign(fs, { writeSync: faulty });
syncBuiltinESMExports();

await import("../../src/store/scribe-thread.ts");
