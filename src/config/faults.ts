/**
 * What is wrong with a configuration: all of it at once, each fault with the place where the user can mend it.
 *
 * A fault never repeats a value, only names of keys: values may be secrets.
 */
import { Failure } from "../base/failure.ts";

export interface Fault {
  /** `upstreams.ghcr.io.url` in a file; the variable's name; the flag with its dashes. Empty = the whole source. */
  readonly path: string;
  /** Line in the file, from 1. */
  readonly line?: number;
  readonly source: "file" | "env" | "flag";
  /** The file as it was named. */
  readonly file?: string;
  readonly message: string;
}

/** So many are told; nobody mends more at once. */
export const MAX_FAULTS = 100;

/** Failure `invalid`, with the faults in `faults` and in `detail`: the first hundred, and how many more there are. */
export class ConfigFaults extends Failure {
  readonly faults: readonly Fault[];

  /** @param more faults that were only counted */
  constructor(found: readonly Fault[], more = 0) {
    const untold = more + Math.max(0, found.length - MAX_FAULTS);
    const told = found.slice(0, MAX_FAULTS);
    const rest: Fault = { path: "", source: found[0]?.source ?? "file", message: `and ${untold} more faults` };
    const faults = untold === 0 ? told : [...told, rest];
    super("invalid", faults.map(faultText).join("\n"), { detail: faults });
    this.faults = faults;
  }
}

/** One line: `config.yaml:12: upstreams.ghcr.io.freshnes: unknown key, did you mean "freshness"?` */
export function faultText(fault: Fault): string {
  const place = fault.file === undefined ? "" : `${fault.file}${fault.line === undefined ? "" : `:${fault.line}`}: `;
  const path = fault.path === "" ? "" : `${fault.path}: `;
  // Keys come from the file and may hold anything; a fault stays one line.
  return [...(place + path + fault.message)].map((letter) => (isControl(letter) ? "?" : letter)).join("");
}

function isControl(letter: string): boolean {
  const code = letter.codePointAt(0) ?? 0;
  return code < 32 || (code >= 127 && code < 160);
}

/** `upstreams.ghcr.io.credentials.0 (1st item)`: of a list, people count from one. */
export function itemText(path: string, index: number): string {
  const nth = index + 1;
  const ending = nth % 100 >= 11 && nth % 100 <= 13 ? "th" : (["th", "st", "nd", "rd"][nth % 10] ?? "th");
  return `${path}.${index} (${nth}${ending} item)`;
}

export function pathText(path: readonly PropertyKey[]): string {
  return path.map((step) => String(step).slice(0, 255)).join(".");
}
