/**
 * How long a connection may be kept after an answer; pure.
 */
import { FieldText } from "../exchange/fieldtext.ts";
import type { Head } from "./head.ts";

const KEEP_MS = 15_000;
/** The server counts from an earlier moment than we do. */
const MARGIN_MS = 1000;

/** Milliseconds; 0 where it may not be kept at all. */
export function keepMsOf({ minor, headers }: Head): number {
  if (minor === 0) return 0;
  const connection = headers.connection;
  if (connection !== undefined && !onlyKeepAlive(connection)) return 0;
  const hint = headers["keep-alive"];
  if (hint === undefined) return KEEP_MS;
  const seconds = secondsOf(hint);
  if (seconds === undefined) return 0;
  return Math.max(Math.min(KEEP_MS, seconds * 1000 - MARGIN_MS), 0);
}

/** `close` says no; whatever else is said of the connection is nothing that we asked for. */
function onlyKeepAlive(header: string | readonly string[]): boolean {
  const tokens = [header].flat().join(",").split(",");
  return tokens.every((token) => token.trim() === "" || token.trim().toLowerCase() === "keep-alive");
}

/** The `timeout` of `timeout=5, max=100`; the longest there is where none is named, undefined for what is malformed. */
function secondsOf(header: string | readonly string[]): number | undefined {
  const text = new FieldText(header);
  let seconds = Number.POSITIVE_INFINITY;
  while (!text.ended) {
    const match = text.take(/[ \t]*([a-z-]+)[ \t]*(?:=[ \t]*(\d{1,9})[ \t]*)?(?:,|$)/iy);
    if (match === undefined) return undefined;
    const [, name = "", value] = match;
    if (value !== undefined && /^timeout$/i.test(name)) seconds = Math.min(seconds, Number(value));
    // The last answer that it gives.
    if (value === "0" && /^max$/i.test(name)) return 0;
  }
  return seconds;
}
