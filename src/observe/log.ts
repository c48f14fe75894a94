/**
 * The log: facts as lines on standard output.
 *
 * One line per answered request, and nothing is built for a line that its level keeps out. Writing never waits: lines
 * are gathered and written in pages, at least every second and at exit. Free text passes `redact`; what has
 * been parsed (repository, reference, method) does not.
 */
import { fstatSync } from "node:fs";
import { type DestinationStream, type Logger, pino } from "pino";
import pretty from "pino-pretty";
import { isFailure } from "../base/failure.ts";
import type { Notices } from "../base/notices.ts";
import { isDamage } from "../meta/damage.ts";
import { findDiskFault } from "../mirror/diskfaults.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { AccessLines } from "./accessline.ts";
import { errorFields } from "./fault-fields.ts";
import { LineGatherer } from "./gather.ts";
import { readable } from "./readable.ts";
import { redact } from "./redact.ts";
import { logTruth } from "./truth-log.ts";

/** A logger that also takes lines which were put together elsewhere. */
export type Log = Logger & { writeLine(line: string): void };

export interface LogSettings {
  readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
  readonly format: "json" | "pretty";
}

const STDOUT = 1;
const FLUSH_EVERY_MS = 1000;
/** What is gathered at most while standard output takes nothing; lines beyond are dropped. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/**
 * What a pipe takes in one piece (PIPE_BUF): several processes that write no more at once never tear lines. A file takes
 * each write whole, of whatever length.
 */
const WHOLE_BYTES = 4096;

/** Writes to standard output unless told otherwise. What is gathered is written at exit without anyone's doing. */
/** @param shared true where other processes write to the same standard output. */
export function createLog(settings: LogSettings, destination?: DestinationStream, shared = false): Log {
  const options = {
    level: settings.level,
    base: null,
    timestamp: isoTime(),
    // An error that is logged as it is gets the same care as those of facts.
    serializers: { err: (value: unknown) => (value instanceof Error ? errorFields(value) : value) },
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const stream = destination ?? openDestination(settings.format, shared);
  return Object.assign(pino(options, stream), { writeLine: (line: string) => void stream.write(line) });
}

function openDestination(format: LogSettings["format"], shared: boolean): DestinationStream {
  if (format === "pretty") {
    return pretty({
      destination: STDOUT,
      sync: true,
      translateTime: "SYS:HH:MM:ss.l",
      hideObject: true,
      messageFormat: (line) => readable(line),
    });
  }
  const wholeBytes = shared && !isFile(STDOUT) ? WHOLE_BYTES : undefined;
  const destination = pino.destination({
    fd: STDOUT,
    sync: false,
    contentMode: "buffer",
    // More than none, so that flushing waits for what is being written.
    minLength: 1,
    ...(wholeBytes === undefined ? {} : { maxWrite: wholeBytes }),
    maxLength: MAX_WAITING_BYTES,
  });
  const flush = destination.flush.bind(destination);
  const flushSync = destination.flushSync.bind(destination);
  // In this mode it takes buffers, which its types do not say.
  const write = (page: Buffer) => destination.write(page as unknown as string);
  const lines = new LineGatherer({ write, flush, flushSync }, FLUSH_EVERY_MS, wholeBytes);
  // Who flushes it, at exit for one, means what is gathered in front of it as well.
  destination.flush = (done) => lines.flush(done);
  destination.flushSync = () => lines.flushSync();
  // A full disk under standard output costs lines, not the mirror: without a listener the error would end the process.
  // The hook at exit writes until everything is written, which then is never; what is gathered is given up instead.
  destination.on("error", () => {
    destination.flushSync = () => {};
    destination.once("write", () => {
      destination.flushSync = () => lines.flushSync();
    });
  });
  return lines;
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

/** A pool of addresses that we leave by must not fill the log. */
const MAX_SOURCES = 200;
/** Of one sweep; all of them together are told at its end. */
const MAX_EVICTIONS_TOLD = 100;

/** @returns the function that ends the subscriptions. */
export function observeWithLog(log: Log, notices: Notices<MirrorNotices>): () => void {
  const lines = new AccessLines(isoTime());
  const sources = new Set<string>();
  /** Accounts come from the configuration, so they are few. */
  const usedUp = new Set<string>();
  /** Told one by one since the last sweep's end. */
  let evictions = 0;
  const ends = [
    notices.on("answered", (fact) => {
      const level = fact.status >= 500 && !fact.aborted ? "warn" : "info";
      if (log.isLevelEnabled(level)) log.writeLine(lines.make(level, fact));
    }),
    notices.on("upstreamRequest", (fact) => {
      if (!log.isLevelEnabled("debug")) return;
      const { upstream, kind, method, status } = fact;
      log.debug({ upstream, kind, method, status, durationMs: rounded(fact.durationMs) }, "upstream answered");
    }),
    notices.on("upstreamLimited", (fact) => log.warn(fact, "upstream limits us")),
    notices.on("accountJudged", ({ upstream, account, verdict }) => {
      // A refusal is told by a trouble, which says what to do.
      if (verdict === "accepted") log.info({ upstream, account }, "account is accepted again");
    }),
    notices.on("rateLimit", ({ upstream, account, limit, remaining, source, resetMs }) => {
      const who = `${upstream} ${account}`;
      if (remaining === 0 && !usedUp.has(who)) {
        usedUp.add(who);
        const until = resetMs === undefined ? undefined : new Date(Date.now() + resetMs).toISOString();
        log.warn({ upstream, account, limit, until }, "limit of an account is used up");
      } else if (remaining !== undefined && remaining > 0 && usedUp.delete(who)) {
        log.info({ upstream, account, limit, remaining }, "limit of an account is there again");
      }
      // Which of our addresses or accounts is charged is what nobody can find out otherwise.
      const key = `${upstream} ${account} ${source}`;
      if (source === undefined || sources.has(key) || sources.size >= MAX_SOURCES) return;
      sources.add(key);
      log.info({ upstream, account, limit, remaining, source }, "upstream counts our pulls");
    }),
    notices.on("upstreamTrouble", ({ upstream, account, message }) => {
      log.warn({ upstream, account, problem: redact(message) }, "upstream trouble");
    }),
    notices.on("upstreamRetried", ({ upstream, reason }) => {
      log.debug({ upstream, reason: redact(reason) }, "upstream is asked again");
    }),
    notices.on("upstreamCircuit", ({ upstream, endpoint, state, reason }) => {
      const words = { closed: "upstream answers again", slow: "upstream is slow", open: "upstream does not answer" };
      const why = reason === undefined ? {} : { reason: redact(reason) };
      log[state === "closed" ? "info" : "warn"]({ upstream, endpoint, ...why }, words[state]);
    }),
    notices.on("fillStarted", (fact) => log.debug(fact, "fill started")),
    notices.on("fillResumed", ({ upstream, digest, atByte, reason }) => {
      log.info({ upstream, digest, atByte, reason: redact(reason) }, "fill resumed");
    }),
    notices.on("fillTakenUp", (fact) => log.info(fact, "fill taken up")),
    notices.on("fillEnded", ({ upstream, digest, bytes, durationMs, failure }) => {
      const fields = { upstream, digest, bytes, durationMs: rounded(durationMs) };
      if (failure === undefined) log.debug(fields, "fill ended");
      // Whoever stops a mirror, or limits it, has it so.
      else if (isFailure(failure, "overloaded"))
        log.info({ ...fields, reason: redact(failure.message) }, "fill stopped");
      else
        log[isFailure(failure, "storage") ? "debug" : "warn"]({ ...fields, err: errorFields(failure) }, "fill failed");
    }),
    notices.on("digestMismatch", (fact) => log.error(fact, "upstream sent other bytes than the digest says")),
    notices.on("staleServed", (fact) => log.debug(fact, "stale answer served")),
    notices.on("storageTrouble", ({ message, cause }) => {
      // What the disk does is told once for each incident, and a damaged index once, below.
      const level = findDiskFault(cause) === undefined && !isDamage(cause) ? "error" : "debug";
      if (log.isLevelEnabled(level))
        log[level]({ problem: redact(message), err: errorFields(cause) }, "storage trouble");
    }),
    notices.on("storageDegraded", ({ errno, why, advice, cause }) => {
      const text = `storage is degraded: ${why}; pulls go on, and nothing new is stored: ${advice}`;
      log.warn({ errno, err: errorFields(cause) }, text);
    }),
    notices.on("storageHealed", ({ errno, durationMs, failures }) => {
      log.warn({ errno, durationMs: rounded(durationMs), failures }, "storage works again");
    }),
    notices.on("indexDamaged", ({ message, cause }) => {
      log.error({ problem: redact(message), err: errorFields(cause) }, "index damaged");
    }),
    notices.on("indexRecovered", ({ message }) => log.warn({ problem: redact(message) }, "index rebuilt")),
    notices.on("indexReconciled", (fact) => {
      log.info({ ...fact, durationMs: rounded(fact.durationMs) }, "index and files agree");
    }),
    notices.on("answerRescued", (fact) => log.debug(fact, "the rest of an answer comes from the upstream")),
    notices.on("evicted", (fact) => {
      evictions += 1;
      if (evictions <= MAX_EVICTIONS_TOLD) {
        log.info({ ...fact, lastUsedAt: new Date(fact.lastUsedAt).toISOString() }, "evicted");
      }
    }),
    notices.on("evictionEnded", (fact) => {
      const untold = Math.max(0, evictions - MAX_EVICTIONS_TOLD);
      evictions = 0;
      if (untold > 0) log.info({ ...fact, durationMs: rounded(fact.durationMs), untold }, "many were evicted");
    }),
    notices.on("certificatesLoaded", ({ files, expiresAt }) => {
      log.info({ files, expiresAt: new Date(expiresAt).toISOString() }, "certificates loaded");
    }),
    notices.on("certificateTrouble", ({ message }) => log.warn({ problem: redact(message) }, "certificate trouble")),
    notices.on("workerEnded", ({ how, replacedInMs }) => {
      log.error({ how: redact(how), replacedInMs }, "a process that answers clients ended; it is replaced");
    }),
    notices.on(
      "warmed",
      ({ images, fetchedBytes, storedBytes, durationMs, failed, failedImages, scheduled, brokenOff }) => {
        const fields = { images, fetchedBytes, storedBytes, durationMs: rounded(durationMs), scheduled };
        if (brokenOff) log.info(fields, "warming was broken off");
        else if (failedImages === 0) log.info(fields, "images are warm");
        else
          log.warn(
            {
              ...fields,
              failedImages,
              failed: failed.map(({ reference, message }) => redact(`${reference}: ${message}`)),
            },
            "images could not be warmed",
          );
      },
    ),
    ...logTruth(log, notices),
    notices.on("backgroundFailed", ({ what, cause }) => {
      const level = isDamage(cause) ? "debug" : "warn";
      if (log.isLevelEnabled(level))
        log[level]({ work: redact(what), err: errorFields(cause) }, "background work failed");
    }),
  ];
  return () => {
    for (const end of ends) end();
  };
}

/** pino's time member in ISO 8601. Within one second only the milliseconds change, so only they are written anew. */
function isoTime(): () => string {
  let second = -1;
  let prefix = "";
  return () => {
    const now = Date.now();
    const current = Math.floor(now / 1000);
    if (current !== second) {
      second = current;
      prefix = `,"time":"${new Date(current * 1000).toISOString().slice(0, -4)}`;
    }
    return `${prefix}${String(now - current * 1000).padStart(3, "0")}Z"`;
  };
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
