/**
 * `wharfinger bench`: runs a load against any registry or mirror, shows how it goes, and reports.
 *
 * The first SIGINT or SIGTERM ends the run and still reports; the second ends the process. The benchmark is loaded when
 * it is needed, and never the mirror.
 */
import { isFailure } from "../base/failure.ts";
import type { Report, Verdict } from "../load/report.ts";
import { type BenchRequest, readBench } from "./bench-options.ts";
import { EXIT, errorText, exitCodeOf } from "./exit.ts";
import type { Given } from "./flags.ts";
import { tryFile, writeDocuments, writeTo } from "./output.ts";
import { watchSignals } from "./signals.ts";
import type { World } from "./world.ts";

const CODES: Readonly<Record<Verdict, number>> = {
  good: EXIT.done,
  errors: EXIT.failed,
  "nothing pulled": EXIT.failed,
  "not found": EXIT.notFound,
  refused: EXIT.refused,
};

/** @returns the exit code */
export async function bench(given: Given, world: World): Promise<number> {
  try {
    const request = readBench(given, world);
    // A file that cannot be written is told before the run and not after it.
    for (const file of [request.json, request.html, request.output]) tryFile(file);
    return CODES[(await measure(request, world)).verdict];
  } catch (error) {
    const hint = isFailure(error, "invalid") ? "\nwharfinger bench --help says what can be given" : "";
    world.stderr.write(`wharfinger: ${errorText(error)}${hint}\n`);
    return isFailure(error) ? exitCodeOf(error) : EXIT.failed;
  }
}

async function measure(request: BenchRequest, world: World): Promise<Report> {
  const { Display, reportPage, reportText, runLoad } = await import("../load/index.ts");
  const display = new Display(world.stderr);
  const stop = new AbortController();
  const unwatch = watchSignals(world, () => {
    display.clear();
    world.stderr.write("wharfinger: ending the run; once more to stop at once\n");
    stop.abort();
  });
  let report: Report;
  try {
    const shown = request.quiet ? {} : { onTick: display.tick.bind(display), tickMs: display.tickMs };
    report = await runLoad(request.options, { stop: stop.signal, ...shown });
  } finally {
    display.clear();
    unwatch();
  }
  writeTo(request.html, reportPage(report));
  writeDocuments(request, { text: reportText(report), json: report }, world);
  return report;
}
