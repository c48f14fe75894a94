/**
 * A day of builds against Docker Hub's pull limit, on a clock of its own: 40 tags every five minutes, tags that change, and
 * others who spend from the same limit. The same day through docker-registry's proxy.
 */

import { ManualClock } from "../../test/kit/clock.ts";
import { Day, type DayFigures, type DayPlan } from "../../test/kit/day.ts";
import { TestMirror } from "../../test/kit/mirror.ts";
import { atMost, exactly } from "../figures.ts";
import { startRegistry } from "../registry.ts";
import type { Bench, Scenario } from "../scenario.ts";

const PLAN: DayPlan = {
  runners: 5,
  crowd: { atHours: [0, 10, 14], runners: 200 },
  tags: 40,
  limit: 100,
  hours: 24,
  everyMinutes: 5,
  changeEveryMinutes: 30,
  burst: { atHour: 10, tags: 15 },
  others: { atHour: 14, pulls: 60 },
};
/** All of them in every round, as runners are that live for longer than a build. */
const KEEPING: DayPlan = { ...PLAN, runners: 200, keeps: true };
const QUICK: DayPlan = { ...PLAN, runners: 1, crowd: { atHours: [0], runners: 200 } };

export const hubDay: Scenario = {
  name: "hub-day",
  measures: "24 hours of pulls of 40 tags every 5 minutes, with 100 manifest GETs in 6 hours",
  async run(bench: Bench) {
    const plan = bench.parts.quick ? QUICK : PLAN;
    const ours = await dayOfMirror(plan);
    tell(bench, "mirror", plan, ours, true);
    bench.find("mirror: manifest GETs ÷ new digests", ours.gets / ours.published, { bar: atMost(1) });
    const delays = ours.delays.toSorted((a, b) => a - b);
    bench.find("mirror: until a change reached a runner, minutes", delays, {
      digits: 0,
      note: `${delays.length} changes, longest ${delays.at(-1)} minutes, ${ours.unseen} not by midnight`,
    });
    if (!bench.parts.quick) {
      const keeping = await dayOfMirror(KEEPING);
      tell(bench, "mirror, runners that keep images", KEEPING, keeping, true);
      bench.find("mirror, runners that keep images: manifest GETs ÷ new digests", keeping.gets / keeping.published, {
        bar: atMost(1),
      });
    }
    await bench.part("docker-registry", async () => {
      // It asks upstream with every HEAD, so its day takes as long as it has to: fewer rounds show the same.
      const few = { ...plan, runners: 1, crowd: { atHours: [0], runners: 5 }, everyMinutes: 20 };
      tell(bench, "docker-registry", few, await dayOfRegistry(bench, few), false);
    });
  },
};

async function dayOfMirror(plan: DayPlan): Promise<DayFigures> {
  const clock = new ManualClock();
  await using day = await Day.start(plan, clock);
  const config = { workers: 1, tls: undefined };
  await using mirror = await TestMirror.start({ upstreams: { "docker.io": day.upstream }, clock, config });
  return await day.run(mirror.url);
}

async function dayOfRegistry(bench: Bench, plan: DayPlan): Promise<DayFigures> {
  await using day = await Day.start(plan, new ManualClock());
  const { dir } = bench.parts;
  const registry = await startRegistry({ name: bench.fileName("registry"), dir, remoteUrl: day.upstream.url });
  await using _ = registry.daemon;
  return await day.run(`http://127.0.0.1:${registry.port}`);
}

function tell(bench: Bench, who: string, plan: DayPlan, figures: DayFigures, isOurs: boolean): void {
  const { crowd, runners, everyMinutes } = plan;
  const hours = crowd?.atHours.join(", ") ?? "";
  const note =
    runners === crowd?.runners
      ? `every ${everyMinutes} minutes ${runners}; of ${figures.pulls} pulls`
      : `every ${everyMinutes} minutes ${runners} instead of 200, ${crowd?.runners} at hour ${hours}; of ${figures.pulls} pulls`;
  const failures = figures.firstFailure === undefined ? note : `${note}; first: ${figures.firstFailure}`;
  bench.find(`${who}: failed pulls`, figures.failedPulls, {
    digits: 0,
    note: failures,
    ...(isOurs ? { bar: exactly(0) } : {}),
  });
  bench.find(`${who}: manifest GETs upstream`, figures.gets, {
    digits: 0,
    note: `${figures.published} new digests, ${figures.refusals} refused`,
  });
  bench.find(`${who}: manifest HEADs upstream`, figures.heads, { digits: 0 });
}
