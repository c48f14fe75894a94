/**
 * The kinds of values a configuration key may have.
 *
 * Each turns what YAML, the environment or a flag holds into its resolved form, or reports one fault that says what is
 * expected. No message repeats the value: it may be a secret in the wrong place. `keyDocs` holds the doc line and the
 * default, as a user would write it, of every key; help texts and the example file are made from it.
 */
import * as z from "zod";
import { Failure, isFailure } from "../base/failure.ts";
import { type CronText, parseCron } from "./cron.ts";
import { canonicalRegistryName, parseHostHeader, parseRegistryName } from "./registry-name.ts";
import { parseDuration, parseListen, parseSize, parseSizeLimit } from "./units.ts";

export type Scalar = string | number | boolean | null;

export interface KeyDoc {
  readonly doc: string;
  /** As it is written in the file; absent for keys that hold other keys. */
  readonly default?: Scalar | readonly string[];
  /** A value for the example file, where the default says little. */
  readonly example?: Scalar | readonly string[];
  /** The values that are allowed, where they are few. */
  readonly choices?: readonly string[];
  /** Only `true` and `false`. */
  readonly boolean?: true;
  /** What the value names; the loader resolves paths, and says where a file or variable does not exist. */
  readonly names?: "file" | "directory" | "variable";
}

export const keyDocs = z.registry<KeyDoc>();

const HTTP_URL = "expected an http or https URL, such as https://registry.example.com";
const LIST = { error: "expected a list" };

/** The default of a section: its keys' own defaults. */
const EMPTY: unknown = {};

/** Keys under a key. An empty section (`admin:` and nothing below) is a section of defaults. */
export function section<Shape extends z.ZodRawShape>(doc: string, shape: Shape) {
  return z
    .preprocess((value) => value ?? {}, z.strictObject(shape, { error: "expected keys and values" }))
    .prefault(EMPTY)
    .register(keyDocs, { doc });
}

/** A value that `parse` reads from text (or number); a `Failure` of it becomes the fault's message. */
function parsed<Out>(expected: string, accepts: "text" | "textOrNumber", parse: (value: string | number) => Out) {
  return z.unknown().transform((value, context): Out => {
    try {
      if (typeof value === "string" || (accepts === "textOrNumber" && typeof value === "number")) return parse(value);
      context.addIssue({ code: "custom", message: `expected ${expected}` });
    } catch (error) {
      if (!isFailure(error)) throw error;
      context.addIssue({ code: "custom", message: error.message });
    }
    return z.NEVER;
  });
}

export function size(doc: string, defaultText: string) {
  const field = parsed("a size such as 10GiB", "textOrNumber", parseSize);
  return field.prefault(defaultText).register(keyDocs, { doc, default: defaultText });
}

/** At least 64 KiB; null = none. @param standard what is meant where it is absent. */
export function optionalSize(doc: string, example: string, standard: string | null = null) {
  const expected = "expected a size of 64KiB or more, such as 20MiB";
  const field = parsed(expected.slice("expected ".length), "textOrNumber", (value) => {
    const bytes = parseSize(value);
    if (bytes < 64 * 1024) throw new Failure("invalid", expected);
    return bytes;
  });
  return orNull(field).prefault(standard).register(keyDocs, { doc, default: standard, example });
}

/** Flags and variables hold text only: there, `null` is written out. */
function orNull<Field extends z.ZodType>(field: Field) {
  return z.preprocess((value) => (value === "null" ? null : value), field.nullable());
}

/** When something is done by itself, in local time; null = never. */
export function cron(doc: string, standard: CronText | null, example: CronText) {
  const field = parsed(
    'a cron expression, such as "0 3 * * 0" for Sundays at 3:00, or null',
    "textOrNumber",
    parseCron,
  );
  return orNull(field).prefault(standard).register(keyDocs, { doc, default: standard, example });
}

/** A number above zero, fractions included; null or absent = none. */
export function rate(doc: string, example: number, max: number) {
  const error = `expected a number above 0, at most ${max}, such as ${example} or 0.5`;
  const field = z.number({ error }).min(0.001, { error }).max(max, { error });
  return field.nullable().default(null).register(keyDocs, { doc, default: null, example });
}

export function sizeLimit(doc: string, defaultText: string) {
  const field = parsed('a size such as 50GiB, or a share such as "80%"', "textOrNumber", parseSizeLimit);
  return field.prefault(defaultText).register(keyDocs, { doc, default: defaultText });
}

/** A share of something else, as a number up to 1. */
export function share(doc: string, defaultText: string) {
  const expected = 'expected a share such as "95%"';
  const field = parsed(expected.slice("expected ".length), "text", (value) => {
    const limit = parseSizeLimit(value);
    if (typeof limit === "number") throw new Failure("invalid", expected);
    return limit.percent / 100;
  });
  return field.prefault(defaultText).register(keyDocs, { doc, default: defaultText });
}

/** A size or a share; null or absent = none. */
export function optionalSizeLimit(doc: string, example: string) {
  const field = parsed('a size such as 50GiB, or a share such as "80%"', "textOrNumber", parseSizeLimit);
  return field.nullable().default(null).register(keyDocs, { doc, default: null, example });
}

export function duration(doc: string, defaultText: string) {
  const field = parsed("a duration such as 30s or 5m", "textOrNumber", parseDuration);
  return field.prefault(defaultText).register(keyDocs, { doc, default: defaultText });
}

export function listen(doc: string, defaultText: string) {
  const field = parsed("host:port, such as 127.0.0.1:5000", "text", (value) => parseListen(String(value)));
  return field.prefault(defaultText).register(keyDocs, { doc, default: defaultText });
}

export function registryName(doc: string, defaultText: string) {
  const field = parsed("a registry name, such as docker.io", "text", (value) => parseRegistryName(String(value)));
  return field.prefault(canonicalRegistryName(defaultText)).register(keyDocs, { doc, default: defaultText });
}

export function choice<const Choice extends string>(
  doc: string,
  choices: readonly Choice[],
  standard: NoInfer<Choice>,
) {
  const field = z.enum(choices, { error: `expected one of ${choices.join(", ")}` });
  return field.default(standard as z.util.NoUndefined<Choice>).register(keyDocs, { doc, default: standard, choices });
}

export function yesNo(doc: string, standard: boolean) {
  const field = z.boolean({ error: "expected true or false" });
  return field.default(standard).register(keyDocs, { doc, default: standard, boolean: true });
}

export function count(doc: string, standard: number, max: number) {
  const error = `expected a whole number from 1 to ${max}`;
  return z.int({ error }).min(1, { error }).max(max, { error }).default(standard).register(keyDocs, {
    doc,
    default: standard,
  });
}

/** A number of processes, or `auto`, which is left to whoever knows the machine. */
export function processes(doc: string, standard: number, max: number) {
  const message = `expected auto, or a whole number from 1 to ${max}`;
  const field = parsed(message.slice("expected ".length), "textOrNumber", (value): number | "auto" => {
    if (value === "auto") return "auto";
    const count = typeof value === "number" ? value : /^\d{1,4}$/.test(value) ? Number(value) : Number.NaN;
    if (!Number.isInteger(count) || count < 1 || count > max) throw new Failure("invalid", message);
    return count;
  });
  return field.prefault(standard).register(keyDocs, { doc, default: standard });
}

/** A directory, which need not exist yet. */
export function directory(doc: string, defaultText: string) {
  const field = z.string({ error: "expected a directory, such as ./data" }).min(1, { error: "expected a directory" });
  return field.default(defaultText).register(keyDocs, { doc, default: defaultText, names: "directory" });
}

/** A path to a file that exists; null or absent = undefined. */
export function file(doc: string, example: string) {
  const field = optionalText("expected the path of a file").transform((path) => path ?? undefined);
  return field.register(keyDocs, { doc, default: null, example, names: "file" });
}

/** The name of an environment variable that is set; null or absent = none. */
export function variable(doc: string, example: string) {
  const field = optionalText("expected the name of an environment variable");
  return field.register(keyDocs, { doc, default: null, example, names: "variable" });
}

/** Text that is looked at by nobody but its receiver; null or absent = none. */
export function text(doc: string, example: string) {
  return optionalText("expected text; put numbers in quotes").register(keyDocs, { doc, default: null, example });
}

function optionalText(error: string) {
  return z.string({ error }).min(1, { error }).nullable().default(null);
}

/** An http(s) URL with no slash at its end; null or absent = null. */
export function httpUrl(doc: string, example: string) {
  return z
    .unknown()
    .transform((value, context): string | null => (value === null ? null : urlOf(value, context)))
    .prefault(null)
    .register(keyDocs, { doc, default: null, example });
}

/** http(s) URLs with no slash at their ends. */
export function httpUrlList(doc: string, example: readonly string[]) {
  return z
    .array(z.unknown().transform(urlOf), LIST)
    .max(16)
    .default([])
    .register(keyDocs, { doc, default: [], example });
}

function urlOf(value: unknown, context: z.core.$RefinementCtx): string {
  const text = typeof value === "string" ? value : "";
  const url = URL.parse(text);
  const fault = findUrlFault(text, url);
  if (url !== null && fault === undefined) return url.href.replace(/\/+$/, "");
  context.addIssue({ code: "custom", message: fault ?? HTTP_URL });
  return z.NEVER;
}

function findUrlFault(value: string, url: URL | null): string | undefined {
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
    return HTTP_URL;
  }
  if (url.username !== "" || url.password !== "") return "a URL holds no user name or password; use credentials";
  if (url.search !== "" || url.hash !== "" || /[?#]/.test(value))
    return "a URL with no query and no fragment is expected";
  return undefined;
}

export function hostList(doc: string, example: readonly string[]) {
  const item = parsed("a host name, such as mirror.example.com", "text", (value) => parseHostHeader(String(value)));
  return z.array(item, LIST).max(1000).default([]).register(keyDocs, { doc, default: [], example });
}

export function patternList(doc: string, standard: readonly string[], example: readonly string[]) {
  const message = 'expected a repository pattern of lower-case names, * and **, such as "library/*"';
  const item = z.string({ error: message }).regex(/^[a-z0-9._/*-]{1,255}$/, { error: message });
  return z
    .array(item, LIST)
    .max(1000)
    .default([...standard])
    .register(keyDocs, { doc, default: standard, example });
}
