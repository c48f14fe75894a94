/**
 * What keeps the store true: the scrub, by its schedule or when somebody asks, and the checks behind serving.
 *
 * A scrub that a stop or a crash cut short goes on soon after the next start.
 */
import { type Clock, pause } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { CronText } from "../config/cron.ts";
import { type Database, isDatabaseError } from "../meta/database.ts";
import type { Inventory } from "../meta/inventory.ts";
import { Verified } from "../meta/verified.ts";
import type { Digest } from "../oci/digest.ts";
import { Documents } from "./reconcile-documents.ts";
import { Schedule } from "./schedule.ts";
import { Scrub } from "./scrub.ts";
import { Verifier } from "./verify.ts";
import { ServedChecks } from "./verify-served.ts";
import type { VerdictParts } from "./verify-verdict.ts";

export interface TruthParts extends Omit<VerdictParts, "inventory" | "onAdopted"> {
  readonly database: Database;
  readonly inventory: VerdictParts["inventory"] & Pick<Inventory, "blobs" | "bytes" | "addManifest">;
  readonly config: {
    readonly cache: { readonly scrub: { readonly schedule: CronText | null; readonly bandwidth: number | null } };
  };
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
}

/** After a start there is more urgent work for the disk. */
const GOES_ON_AFTER_MS = 60_000;
const NAME = "the scrub";

export class Truth {
  readonly scrub: Scrub;
  readonly #parts: TruthParts;
  readonly #verifier: Verifier;
  readonly #verified: Verified;
  readonly #served: ServedChecks;
  readonly #clock: Clock;
  #schedule: Schedule | undefined;
  #goingOn: Promise<void> | undefined;
  #cancel = () => {};

  constructor(parts: TruthParts) {
    const { clock, config } = parts;
    this.#parts = parts;
    this.#clock = clock;
    this.#verifier = new Verifier(clock);
    this.#verified = new Verified(parts.database);
    const documents = new Documents(parts, parts.signal);
    const own = {
      ...{ ...parts, verified: this.#verified, verifier: this.#verifier },
      onAdopted: (digest: Digest, sizeBytes: number) => documents.link(digest, sizeBytes),
    };
    this.scrub = new Scrub(own);
    this.#served = new ServedChecks({ ...own, bandwidth: config.cache.scrub.bandwidth });
  }

  /** Of what is stored: this and all below it. */
  digestsBelow(digest: Digest): Digest[] {
    return this.#verified.digestsBelow(digest);
  }

  /** When the last scrub came to its end, and when one begins by itself; epoch milliseconds. */
  get moments(): { readonly lastEndedAt: number | undefined; readonly nextAt: number | undefined } {
    return { lastEndedAt: this.#verified.lastEndedAt, nextAt: this.#schedule?.nextAt };
  }

  start(): void {
    const { config, notices } = this.#parts;
    const endedAt = this.#verified.lastEndedAt;
    if (endedAt !== undefined) notices.emit("scrubRemembered", { endedAt });
    const { schedule: cron } = config.cache.scrub;
    if (cron === null) return;
    const startedAt = this.#clock.now();
    const run = async (signal: AbortSignal) => {
      await pause(this.#clock, Math.min(GOES_ON_AFTER_MS, startedAt + GOES_ON_AFTER_MS - this.#clock.now()), signal);
      await this.#run(signal);
    };
    const lastRunAt = this.#lastRunAt();
    this.#schedule = new Schedule({ name: NAME, cron, lastRunAt, run }, { clock: this.#clock, notices });
    this.#schedule.start();
    if (!this.scrub.isUnfinished) return;
    this.#cancel = this.#clock.after(GOES_ON_AFTER_MS, () => {
      this.#goingOn = this.#run(this.#parts.signal).catch((cause: unknown) => {
        if (!this.#parts.signal.aborted) notices.emit("backgroundFailed", { what: NAME, cause });
      });
    });
  }

  /** Where there was none, time counts from now on: a machine that is always off at night has its scrubs, too. */
  #lastRunAt(): number | undefined {
    const known = this.#verified.lastStartedAt;
    if (known !== undefined) return known;
    try {
      this.#verified.started(this.#clock.now());
    } catch (error) {
      if (!isDatabaseError(error)) throw error;
    }
    return undefined;
  }

  /** These were served in the last few seconds. */
  used(digests: Parameters<ServedChecks["used"]>[0]): void {
    this.#served.used(digests);
  }

  /** After the signal aborted: resolves when nothing is read any more and no thread is left. */
  async stop(): Promise<void> {
    this.#cancel();
    await this.#schedule?.stop();
    await this.#goingOn;
    await this.#served.stop();
    await this.scrub.report?.catch(() => {});
    await this.#verifier.stop();
  }

  /** One that somebody has begun by hand will do. */
  async #run(signal: AbortSignal): Promise<void> {
    try {
      await this.scrub.run({ bandwidth: this.#parts.config.cache.scrub.bandwidth, signal });
    } catch (error) {
      if (!isFailure(error, "overloaded") || signal.aborted) throw error;
    }
  }
}
