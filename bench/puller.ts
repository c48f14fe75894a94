/**
 * The client, a process of its own: its processor time must not be counted as the server's, nor its pauses seen by
 * whoever measures. Started by `pull.ts`; does one job at a time and ends with its parent.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type {
  FloodJob,
  FloodResult,
  HashJob,
  HashResult,
  HerdJob,
  HerdResult,
  Job,
  Jobs,
  ProbeJob,
  ProbeResult,
  RepeatJob,
  RepeatResult,
  Reply,
  SeriesJob,
  SeriesResult,
} from "./jobs.ts";
import { hashSecurely } from "./secure.ts";
import { trickle } from "./trickle.ts";
import { Wire } from "./wire.ts";

async function repeat(job: RepeatJob): Promise<RepeatResult> {
  const wires = await Promise.all(Array.from({ length: job.connections }, () => Wire.open(job.target.port)));
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  const counts = await Promise.all(
    wires.map(async (wire) => {
      let bytes = 0;
      for (let i = 0; i < job.times; i += 1) {
        const { status, bodyBytes } = await wire.get(job.target);
        if (status !== 200) throw new Error(`answered with ${status}`);
        bytes += bodyBytes;
      }
      return bytes;
    }),
  );
  const seconds = secondsSince(startedAt);
  const { user, system } = process.cpuUsage(cpuBefore);
  for (const wire of wires) wire.close();
  const bytes = counts.reduce((sum, count) => sum + count, 0);
  return { seconds, bytes, clientCpuSeconds: (user + system) / 1e6 };
}

async function series(job: SeriesJob): Promise<SeriesResult> {
  const wires = new Map<number, Wire>();
  for (const { port } of job.targets) if (!wires.has(port)) wires.set(port, await Wire.open(port));
  const answers: SeriesResult["answers"][number][] = [];
  for (const target of job.targets) {
    const wire = wires.get(target.port);
    if (wire === undefined) throw new Error("no connection");
    answers.push(await wire.get(target));
    if (job.pauseMs > 0) await sleep(job.pauseMs);
  }
  for (const wire of wires.values()) wire.close();
  return { answers };
}

async function hash(job: HashJob): Promise<HashResult> {
  const sum = createHash("sha256");
  const wire = await Wire.open(job.target.port);
  const { status } = await wire.get({ ...job.target, onBody: (chunk) => sum.update(chunk) });
  wire.close();
  return { status, digest: `sha256:${sum.digest("hex")}` };
}

async function herd(job: HerdJob): Promise<HerdResult> {
  const expected = job.file === undefined ? undefined : readFileSync(job.file);
  const cpuBefore = process.cpuUsage();
  const half = Promise.withResolvers<void>();
  const startedAt = performance.now();
  let firstSeconds = Number.POSITIVE_INFINITY;

  const client = async (): Promise<boolean> => {
    let right = true;
    const wire = await Wire.open(job.target.port);
    const onBody = (chunk: Buffer, offset: number) => {
      const end = offset + chunk.length;
      if (expected !== undefined) right &&= expected.compare(chunk, 0, chunk.length, offset, end) === 0;
      if (end >= job.sizeBytes / 2) half.resolve();
    };
    const got = await wire.get({ ...job.target, onBody });
    firstSeconds = Math.min(firstSeconds, secondsSince(startedAt));
    wire.close();
    return right && got.status === 200 && got.bodyBytes === job.sizeBytes;
  };
  // One that fails is one that did not get it; it must not keep the others from being counted.
  const start = (count: number) => Array.from({ length: count }, () => client().catch(() => false));

  const early = start(job.early);
  await Promise.race([half.promise, Promise.all(early)]);
  const joinedSeconds = secondsSince(startedAt);
  const all = await Promise.all([...early, ...start(job.late)]);
  const { user, system } = process.cpuUsage(cpuBefore);
  const clientCpuSeconds = (user + system) / 1e6;
  const right = all.filter(Boolean).length;
  return { right, seconds: secondsSince(startedAt), firstSeconds, joinedSeconds, clientCpuSeconds };
}

function secondsSince(startedAt: number): number {
  return (performance.now() - startedAt) / 1000;
}

async function flood(job: FloodJob): Promise<FloodResult> {
  const wires = await Promise.all(Array.from({ length: job.connections }, () => Wire.open(job.target.port)));
  const startedAt = performance.now();
  let bytes = 0;
  let over = false;
  const onBody = (chunk: Buffer) => {
    bytes += chunk.length;
  };
  const running = wires.map(async (wire) => {
    while (!over) {
      const { status } = await wire.get({ ...job.target, onBody });
      if (status !== 200) throw new Error(`answered with ${status}`);
    }
  });
  const ended = Promise.all(running);
  // Those that are cut at the end have failed; a failure before it is one.
  ended.catch(() => {});
  await Promise.race([sleep(job.seconds * 1000), ended]);
  over = true;
  const seconds = secondsSince(startedAt);
  for (const wire of wires) wire.close();
  return { seconds, bytes };
}

async function probe(job: ProbeJob): Promise<ProbeResult> {
  const wire = await Wire.open(job.target.port);
  const startedAt = performance.now();
  const times: number[] = [];
  while (secondsSince(startedAt) < job.seconds) {
    const { status, totalMs } = await wire.get(job.target);
    if (status !== 200) throw new Error(`answered with ${status}`);
    times.push(totalMs);
    await sleep(job.pauseMs);
  }
  wire.close();
  return { totalMs: times };
}

function work(job: Job): Promise<Jobs[keyof Jobs]["result"]> {
  switch (job.kind) {
    case "repeat":
      return repeat(job);
    case "series":
      return series(job);
    case "hash":
      return hash(job);
    case "secure-hash":
      return hashSecurely(job.target.port, job.target.path, job.protocol);
    case "herd":
      return herd(job);
    case "flood":
      return flood(job);
    case "probe":
      return probe(job);
    case "trickle":
      return trickle(job);
  }
}

process.on("message", (job: Job) => {
  work(job).then(
    (result) => process.send?.({ result } satisfies Reply),
    (error: unknown) => process.send?.({ error: String(error) } satisfies Reply),
  );
});
process.on("disconnect", () => process.exit());
