/**
 * Files, directories and environment variables that the configuration names.
 *
 * Works on the value before the schema has seen it, so that a missing file is reported beside all other faults; what is
 * not as the schema wants it is left alone. Paths become absolute here. No message repeats a value: a secret that was
 * put where its file's name belongs must not reach a log.
 */
import { accessSync, constants, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import type * as z from "zod";
import { errnoOf } from "../base/failure.ts";
import { childrenOf, docsOf } from "./leaves.ts";

export interface NamedThings {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The directory that a relative path at this place starts from. */
  baseOf(path: readonly PropertyKey[]): string;
  report(path: readonly PropertyKey[], message: string): void;
}

/** The value with every path made absolute. */
export function resolveNamed(
  field: z.core.$ZodType,
  value: unknown,
  things: NamedThings,
  path: readonly PropertyKey[] = [],
): unknown {
  const { names } = docsOf(field);
  if (typeof value === "string" && value !== "" && names !== undefined) {
    if (names === "variable") {
      if ((things.env[value] ?? "") === "") things.report(path, "the environment variable that it names is not set");
      return value;
    }
    const base = things.baseOf(path);
    const absolute = resolve(base, value);
    const fault = names === "file" ? findFileFault(absolute) : undefined;
    if (fault !== undefined) things.report(path, `${fault} (relative paths start at ${base})`);
    return absolute;
  }
  const children = childrenOf(field, value);
  if (children.length === 0) return value;
  const resolved = children.map(({ key, field: inner, value: child }) => {
    return [key, resolveNamed(inner, child, things, [...path, key])] as const;
  });
  if (Array.isArray(value)) return resolved.map(([, child]) => child);
  return { ...(value as object), ...Object.fromEntries(resolved) };
}

function findFileFault(file: string): string | undefined {
  try {
    if (statSync(file).isDirectory()) return "names a directory, not a file";
    accessSync(file, constants.R_OK);
    return undefined;
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return "no such file";
    return code === "EACCES" ? "may not be read by this process" : "cannot be read";
  }
}

/** Where relative paths of a configuration file start. */
export function directoryOf(file: string | undefined, cwd: string): string {
  return file === undefined ? cwd : dirname(resolve(cwd, file));
}
