/**
 * How busy the machine is without us. A figure taken beside somebody else's work says little, so a scenario waits a
 * while for quiet, and says what it got.
 */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const QUIET_SHARE = 0.05;
const WINDOW_MS = 1000;

/** @returns the share of all cores that is used by whoever it is, 0 to 1, after at most `patienceMs` of waiting. */
export async function waitForQuiet(patienceMs: number, signal: AbortSignal): Promise<number> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const before = readTimes();
    await sleep(WINDOW_MS, undefined, { signal });
    const now = readTimes();
    const share = (now.busy - before.busy) / (now.all - before.all);
    if (share <= QUIET_SHARE || performance.now() > deadline) return share;
  }
}

/** Ticks of all cores since the machine started. Waiting for a disk is idle, being robbed by the hypervisor is not. */
function readTimes(): { readonly busy: number; readonly all: number } {
  const line = readFileSync("/proc/stat", "utf8").split("\n", 1)[0] ?? "";
  const [user = 0, nice = 0, system = 0, idle = 0, ioWait = 0, irq = 0, softIrq = 0, steal = 0] = line
    .split(/\s+/)
    .slice(1)
    .map(Number);
  const busy = user + nice + system + irq + softIrq + steal;
  return { busy, all: busy + idle + ioWait };
}
