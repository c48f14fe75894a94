/**
 * Figures for people, the same in every table, page and line that is redrawn.
 */
import { sizeText } from "./units.ts";

/** Three digits that count, with the unit that fits. */
export function durationText(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${significant(ms)} ms`;
  return ms < 600_000 ? `${significant(ms / 1000)} s` : `${Math.round(ms / 60_000)} min`;
}

export function countText(count: number): string {
  return Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, " ");
}

/** Of a rate: whole where it is large. */
export function rateText(perSecond: number): string {
  return perSecond >= 100 ? countText(perSecond) : significant(perSecond);
}

export function bytesText(bytes: number): string {
  return sizeText(Math.round(bytes)).replace(/(?<=\d)(?=[KMGTP]iB$)/, " ");
}

function significant(value: number): string {
  if (value === 0) return "0";
  return String(Number(value.toPrecision(3)));
}
