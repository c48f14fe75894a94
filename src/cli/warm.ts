/**
 * `wharfinger warm`: asks for images to be fetched, shows how it goes, and says what came of it.
 *
 * The first Ctrl-C ends it with a summary of what is there; what was fetched is kept.
 */
import type { ApiEvent } from "../api/operation.ts";
import { systemClock } from "../base/clock.ts";
import type { WarmEvent, WarmSummary } from "../bundle/warm.ts";
import type { AtDesk, DeskCommand } from "./desk-command.ts";
import { Progress } from "./progress.ts";
import { SIGNAL_EXIT, watchSignals } from "./signals.ts";
import { readInput, readWarm, referencesIn, type WarmOptions } from "./warm-options.ts";
import { exitCodeOfWarm, failureText, imageText, summaryText } from "./warm-text.ts";
import { spanText } from "./wording.ts";
import type { StopSignal, World } from "./world.ts";

export const WARM: DeskCommand<WarmOptions> = { name: "warm", use: "work", read: readWarm, run: warm };

async function warm(options: WarmOptions, { desk, world, quiet, write }: AtDesk): Promise<number> {
  const listed = options.fromInput ? referencesIn(await readInput(process.stdin)) : [];
  const { platforms, allTags, wait } = options;
  const asked = {
    references: [...options.references, ...listed],
    ...(platforms.length === 0 ? {} : { platforms }),
    ...(allTags === undefined ? {} : { allTags }),
    ...(wait === undefined ? {} : { wait }),
  };
  const show = new WarmShow(new Progress(world.stderr, { clock: systemClock, quiet }), quiet ? world : undefined);
  const abort = new AbortController();
  let stoppedBy: StopSignal | undefined;
  const unwatch = watchSignals(world, (signal) => {
    stoppedBy = signal;
    abort.abort(new Error("stopped"));
  });
  // Where all that goes on is to wait, nothing else keeps the process.
  const staying = setInterval(() => {}, 60_000);
  let result: WarmSummary | undefined;
  try {
    for await (const event of desk.events("/api/v1/warm", asked, { signal: abort.signal })) {
      if (event.event === "done") result = resultOf(event);
      else show.tell(event);
    }
  } catch (error) {
    if (stoppedBy === undefined) throw error;
  } finally {
    clearInterval(staying);
    unwatch();
    show.end();
  }
  if (result === undefined && stoppedBy !== undefined) {
    const sofar = show.summary;
    const text = `stopped; what was fetched is kept\n${summaryText(sofar)}`;
    write({ text, json: { ...sofar, stopped: true } });
    return SIGNAL_EXIT[stoppedBy];
  }
  if (result === undefined) throw new Error("there was no result");
  write({ text: quiet ? "" : summaryText(result), json: result });
  return exitCodeOfWarm(result.failed);
}

/** What is seen of a run, from what is told of it. */
class WarmShow {
  readonly #progress: Progress;
  /** Where failures are told at once, for want of a display. */
  readonly #failures: Pick<World, "stderr"> | undefined;
  readonly #startedAt = systemClock.now();
  readonly #failed: WarmSummary["failed"][number][] = [];
  #shown: readonly string[] = [];
  readonly #sums = { images: 0, fetchedBytes: 0, storedBytes: 0 };

  constructor(progress: Progress, failures: Pick<World, "stderr"> | undefined) {
    this.#progress = progress;
    this.#failures = failures;
  }

  tell(told: ApiEvent): void {
    const event = told as WarmEvent;
    switch (event.event) {
      case "progress":
        this.#goesOn(event);
        break;
      case "image":
        this.#sums.images += 1;
        this.#sums.fetchedBytes += event.fetchedBytes;
        this.#sums.storedBytes += event.storedBytes;
        this.#progress.finish(event.reference, imageText(event));
        break;
      case "imageFailed":
        this.#sums.images += 1;
        this.#failed.push(event);
        this.#failures?.stderr.write(`${failureText(event)}\n`);
        this.#progress.finish(event.reference, failureText(event));
        break;
    }
  }

  end(): void {
    this.#progress.end();
  }

  /** As far as it came. */
  get summary(): WarmSummary {
    return { ...this.#sums, durationMs: systemClock.now() - this.#startedAt, failed: this.#failed };
  }

  #goesOn({ running, total }: Extract<WarmEvent, { event: "progress" }>): void {
    const notes = running.map(({ waiting }) => waiting && `waiting for ${waiting.what}, ${spanText(waiting.ms)}`);
    for (const [at, { reference, doneBytes, totalBytes }] of running.entries()) {
      this.#progress.update(reference, { label: reference, done: doneBytes, total: totalBytes, note: notes[at] });
    }
    const keys = running.map(({ reference }) => reference);
    for (const gone of this.#shown) if (!keys.includes(gone)) this.#progress.finish(gone);
    this.#shown = keys;
    const note = notes.every((one) => one !== undefined) ? notes[0] : undefined;
    const label = `${total.ended} of ${total.images} images`;
    this.#progress.total({ label, done: total.doneBytes, total: total.totalBytes, note });
  }
}

function resultOf(event: ApiEvent): WarmSummary {
  return Reflect.get(event, "result") as WarmSummary;
}
