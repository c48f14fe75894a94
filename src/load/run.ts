/**
 * A whole run: looks whether the images are there, lets the clients loose, ends with the duration or when told to, and
 * leaves no connection and no timer behind.
 */
import { Failure, messageOf } from "../base/failure.ts";
import { Client } from "./client.ts";
import type { ImagePlan } from "./image.ts";
import { Life } from "./life.ts";
import { Mishap, Stopped } from "./mishap.ts";
import type { LoadOptions } from "./options.ts";
import { findOfficial, type ImageName, type Place, parseImageName, placeOf } from "./place.ts";
import { eachOf } from "./pool.ts";
import type { Answer } from "./receipt.ts";
import { type Report, summarise } from "./report.ts";
import { bystanderPart, partOf, type Stage, warmUp } from "./scenarios.ts";
import { Tally } from "./tally.ts";

export interface RunHooks {
  /** Ends the run early; what was measured is reported all the same. */
  readonly stop?: AbortSignal;
  /** Every `tickMs` while the clients are at work. */
  readonly onTick?: (tally: Tally) => void;
  readonly tickMs?: number;
}

const LONGEST_LOOK_MS = 250;
const PROBES_AT_ONCE = 8;

/** @throws Failure where no measurement could begin: `invalid`, `unknown`, `refused`, `unreachable` */
export async function runLoad(options: LoadOptions, hooks: RunHooks = {}): Promise<Report> {
  const images = options.references.map(parseImageName);
  for (const image of images) placeOf(image, options.url, options.as, options.prefix);
  const life = new Life(Math.max(10, Math.min(LONGEST_LOOK_MS, options.timeoutMs / 4)));
  const tally = new Tally();
  const seen = new Map<string, ImagePlan>();
  const make = () => new Client(options, life, tally, seen);
  const bystander = make();
  const clients = Array.from({ length: options.clients }, make);
  const onStop = () => life.stop();
  hooks.stop?.addEventListener("abort", onStop, { once: true });
  if (hooks.stop?.aborted === true) life.stop();
  try {
    const places: Place[] = [];
    await eachOf(images, PROBES_AT_ONCE, async (image, at) => {
      places[at] = await findPlace(image, options, bystander);
    }).catch((error: unknown) => {
      if (error instanceof Stopped) throw new Failure("unreachable", "stopped before the first image was found");
      throw error;
    });
    const stage: Stage = { options, places, clients, bystander, life, tally, seen };
    return await measure(stage, hooks);
  } finally {
    hooks.stop?.removeEventListener("abort", onStop);
    life.stop();
    for (const client of [bystander, ...clients]) client.close();
  }
}

async function measure(stage: Stage, hooks: RunHooks): Promise<Report> {
  const { life, tally, options } = stage;
  let ended: "complete" | "interrupted" = "complete";
  let bug: unknown;
  const guard = async (work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      if (error instanceof Stopped) return;
      bug ??= error;
      life.stop();
    }
  };
  await guard(() => warmUp(stage));
  const startedAt = new Date();
  tally.restart();
  const before = { loop: performance.eventLoopUtilization(), cpu: process.cpuUsage() };
  const timers: NodeJS.Timeout[] = [];
  if (options.durationMs !== undefined) timers.push(setTimeout(() => life.stop(), options.durationMs));
  const { onTick } = hooks;
  if (onTick !== undefined) timers.push(setInterval(() => onTick(tally), hooks.tickMs ?? 1000));
  try {
    const part = partOf(stage);
    const aside = bystanderPart(stage);
    const parts = stage.clients.map((client, at) => guard(() => part(client, at)));
    if (aside !== undefined) parts.push(guard(aside));
    await Promise.all(parts);
  } finally {
    for (const timer of timers) clearInterval(timer);
  }
  if (bug !== undefined) throw bug;
  if (hooks.stop?.aborted === true) ended = "interrupted";
  const cpu = process.cpuUsage(before.cpu);
  return summarise({
    options,
    tally,
    seen: stage.seen,
    startedAt,
    elapsedMs: tally.elapsedMs,
    ended,
    loopBusy: performance.eventLoopUtilization(before.loop).utilization,
    cpuSeconds: (cpu.user + cpu.system) / 1e6,
  });
}

/** One HEAD per image, so that a wrong name or password is told at once and in words. */
async function findPlace(image: ImageName, options: LoadOptions, client: Client): Promise<Place> {
  const place = placeOf(image, options.url, options.as, options.prefix);
  const answer = await probe(client, place, options);
  if (answer.status === 200) return place;
  const official = answer.status === 404 ? findOfficial(image) : undefined;
  if (official !== undefined) {
    const other = placeOf(official, options.url, options.as, options.prefix);
    if ((await probe(client, other, options)).status === 200) return other;
  }
  throw failureOf(answer, image, options);
}

async function probe(client: Client, place: Place, options: LoadOptions): Promise<Answer> {
  try {
    return await client.probe(place);
  } catch (error) {
    if (!(error instanceof Mishap)) throw error;
    if (error.kind === "status 401" || error.kind === "status 403") {
      throw new Failure("refused", `${place.written}: ${error.message} (${error.kind}); ${LOGIN_ADVICE}`);
    }
    const untrusted = error.kind === "tls" && !error.message.endsWith("?");
    const advice = untrusted ? "; --ca FILE trusts a certificate, --insecure any" : "";
    throw new Failure("unreachable", `${options.url.origin}: ${error.kind}: ${messageOf(error)}${advice}`);
  }
}

const LOGIN_ADVICE = "give --username and --password-env, or an image that anybody may pull";

function failureOf(answer: Answer, image: ImageName, options: LoadOptions): Failure {
  const { written } = image;
  switch (answer.status) {
    case 404:
      return new Failure(
        "unknown",
        `${written}: ${options.url.origin} has no such image; name one as REF that can be pulled from it${
          image.registry === undefined ? ", with its registry (ghcr.io/owner/app) where it mirrors several" : ""
        }`,
      );
    case 401:
    case 403:
      return new Failure("refused", `${written}: ${options.url.origin} answered ${answer.status}; ${LOGIN_ADVICE}`);
    default:
      return new Failure("unreachable", `${written}: ${options.url.origin} answered ${answer.status}`);
  }
}
