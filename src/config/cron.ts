/**
 * Cron expressions: five fields (minute, hour, day of the month, month, day of the week) or a word such as `@weekly`,
 * in the machine's local time.
 *
 * They are read and asked for the next time only; whoever waits for it has a clock of his own.
 */
import { Cron } from "croner";
import { Failure } from "../base/failure.ts";

const EXPECTED = 'expected a cron expression of five fields, such as "0 3 * * 0" for Sundays at 3:00, or null';
const FIELDS = ["minute", "hour", "day of the month", "month", "day of the week"] as const;

/** A cron expression that comes due some day. No message repeats it. */
export type CronText = string;

/** @throws Failure `invalid`, which says which field is wrong. */
export function parseCron(value: string | number): CronText {
  const text = String(value).trim().replace(/\s+/g, " ");
  if (text.length > 100) throw new Failure("invalid", EXPECTED);
  if (read(text) === undefined) throw new Failure("invalid", findFault(text));
  if (nextAfter(text, Date.UTC(2026, 0, 1)) === undefined) {
    throw new Failure("invalid", "expected a cron expression of a day that comes: this one never does");
  }
  return text;
}

/** The first time after `afterMs` (epoch milliseconds); undefined where there is none. */
export function nextAfter(cron: CronText, afterMs: number): number | undefined {
  return read(cron)?.nextRun(new Date(afterMs))?.getTime();
}

function read(text: string): Cron | undefined {
  try {
    return new Cron(text, { mode: "5-part" });
  } catch {
    // Its messages repeat what was written.
    return undefined;
  }
}

function findFault(text: string): string {
  const parts = text.split(" ");
  if (parts.length !== FIELDS.length) return EXPECTED;
  const wrong = FIELDS.filter(
    (_, at) => read(parts.map((part, other) => (other === at ? part : "*")).join(" ")) === undefined,
  );
  return wrong.length === 0 ? EXPECTED : `${EXPECTED}; not understood: ${wrong.join(", ")}`;
}
