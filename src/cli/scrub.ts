/**
 * `wharfinger scrub`: has everything read that is stored, shows how it goes, and says what was found.
 *
 * The first Ctrl-C ends it; the next one goes on where it was.
 */
import type { ApiEvent } from "../api/operation.ts";
import type { ScrubEvent, ScrubResult } from "../api/scrub.ts";
import { systemClock } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { AtDesk, DeskCommand } from "./desk-command.ts";
import { EXIT } from "./exit.ts";
import { Progress } from "./progress.ts";
import { readScrub, type ScrubRequest } from "./scrub-options.ts";
import { damageText, indexText, reportText } from "./scrub-text.ts";
import { SIGNAL_EXIT, watchSignals } from "./signals.ts";
import type { StopSignal } from "./world.ts";

export const SCRUB: DeskCommand<ScrubRequest> = { name: "scrub", use: "look", read: readScrub, run: scrub };

const KEY = "scrub";
const PERCENT = { amount: (share: number) => `${Math.round(share)} %` };

async function scrub(request: ScrubRequest, { desk, world, quiet, write }: AtDesk): Promise<number> {
  const { bandwidth, references, ...flags } = request;
  const some = references.length === 0 ? {} : { references };
  const asked = { ...flags, ...some, ...(bandwidth === undefined ? {} : { bandwidth }) };
  // The index first, where it is rebuilt: of that only the share is known that is done.
  let progress = new Progress(world.stderr, { clock: systemClock, quiet, ...(request.rebuild ? PERCENT : {}) });
  let isIndex = request.rebuild;
  const abort = new AbortController();
  let stoppedBy: StopSignal | undefined;
  const unwatch = watchSignals(world, (signal) => {
    stoppedBy = signal;
    abort.abort(new Error("stopped"));
  });
  // Between two reads nothing else keeps the process.
  const staying = setInterval(() => {}, 60_000);
  let result: ScrubResult | undefined;
  let [isWatched, isDamaged] = [false, false];
  try {
    for await (const event of desk.events("/api/v1/scrub", asked, { signal: abort.signal })) {
      isWatched = true;
      if (event.event === "damage") isDamaged = true;
      if (event.event === "done") result = resultOf(event);
      else {
        if (isIndex && event.event !== "index") {
          isIndex = false;
          progress.end();
          progress = new Progress(world.stderr, { clock: systemClock, quiet });
        }
        show(event, progress);
      }
    }
  } catch (error) {
    if (isFailure(error, "overloaded") && !request.join && stoppedBy === undefined) {
      world.stderr.write("with --join it is watched\n");
    }
    if (isFailure(error, "overloaded") && request.join && isWatched && stoppedBy === undefined) {
      const found = isDamaged ? "damage was found until then" : "no damage was found until then";
      world.stderr.write(
        `wharfinger: who began the scrub has stopped it: ${found}; the next one goes on where it was\n`,
      );
      return isDamaged ? EXIT.failed : EXIT.refused;
    }
    if (stoppedBy === undefined) throw error;
  } finally {
    clearInterval(staying);
    unwatch();
    progress.end();
  }
  if (result === undefined && stoppedBy !== undefined) {
    world.stderr.write("stopped; the next one goes on where it was\n");
    return SIGNAL_EXIT[stoppedBy];
  }
  if (result === undefined) throw new Error("there was no result");
  const index = result.index === undefined || quiet ? "" : indexText(result.index);
  const text = quiet && result.damaged === 0 ? "" : reportText(result);
  write({ text: `${index}${text}`, json: result });
  return result.damaged > 0 ? EXIT.failed : EXIT.done;
}

function show(told: ApiEvent, progress: Progress): void {
  const event = told as ScrubEvent;
  switch (event.event) {
    case "index":
      progress.update(KEY, { label: "index", done: event.done * 100, total: 100 });
      break;
    case "damage":
      progress.say(damageText(event));
      break;
    case "progress": {
      const { blobs, totalBlobs, bytes, totalBytes, damaged } = event;
      const found = damaged === 0 ? "" : `, ${damaged} damaged`;
      progress.update(KEY, { label: `${blobs} of ${totalBlobs} blobs${found}`, done: bytes, total: totalBytes });
      break;
    }
  }
}

function resultOf(event: ApiEvent): ScrubResult {
  return Reflect.get(event, "result") as ScrubResult;
}
