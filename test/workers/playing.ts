/** Fronts whose processes play parts, and what a test of them needs. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { bindPort } from "../../src/workers/boundport.ts";
import type { OriginSide } from "../../src/workers/door.ts";
import { Fronts } from "../../src/workers/fronts.ts";
import type { MetricValues } from "../../src/workers/messages.ts";
import type { Part } from "./played-front.ts";

export const PROGRAM = new URL("./played-front.ts", import.meta.url);

/** @param parts what each front does, in the order of their beginning; the last one's part is played by all that follow. */
export function play(parts: readonly Part[], count: number, programs: readonly URL[] = []) {
  const ended: string[] = [];
  const buried: MetricValues[] = [];
  let begun = 0;
  const next = <T>(list: readonly T[]) => list[Math.min(begun, list.length) - 1];
  const fronts = new Fronts({
    count,
    get program() {
      begun += 1;
      return next(programs) ?? PROGRAM;
    },
    // No front that is played knocks at the door.
    side: {} as OriginSide,
    notices: { emit: (_, fact) => void ended.push((fact as { how: string }).how) },
    relayed: { emit: () => {} },
    begin: () => ({
      settings: next(parts),
      relayed: [],
      sightings: [],
      absences: [],
      troubles: [],
      fillings: [],
    }),
    bury: (counts) => void buried.push(counts),
  });
  return { fronts, ended, buried };
}

export function openPort() {
  return bindPort({ host: "127.0.0.1", port: 0 }, async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    await new Promise((resolve) => server.close(resolve));
    assert.ok(typeof address === "object" && address !== null);
    return { host: "127.0.0.1", port: address.port };
  });
}

export async function until(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + 15_000;
  while (!holds()) {
    assert.ok(performance.now() < deadline, "it did not come to pass");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
