/**
 * What the schema's structure tells: the scalar keys that flags and the environment can set, and the schema that stands
 * at a path. Nothing here knows a key by its name, but for `upstreams`, which only a file can describe.
 */
import * as z from "zod";
import { type KeyDoc, keyDocs, type Scalar } from "./fields.ts";
import { schema } from "./schema.ts";

/** A scalar key outside `upstreams`. */
export interface Leaf {
  readonly path: readonly string[];
  /** Kebab-case, without the dashes in front: `cache-max-size`. */
  readonly flag: string;
  /** `WHARFINGER_CACHE_MAX_SIZE`. */
  readonly env: string;
  readonly doc: string;
  readonly default: Scalar;
  readonly choices: readonly string[] | undefined;
  readonly boolean: boolean;
}

export const ENV_PREFIX = "WHARFINGER_";

/** All leaves, in the schema's order. Keys that this version refuses are no leaves unless they accept a value. */
export function listLeaves(): readonly Leaf[] {
  const leaves: Leaf[] = [];
  collect(schema, [], leaves);
  return leaves;
}

function collect(section: z.core.$ZodType, path: readonly string[], into: Leaf[]): void {
  for (const [key, child] of Object.entries(shapeOf(section) ?? {})) {
    const docs = docsOf(child);
    const at = [...path, key];
    if (shapeOf(child) !== undefined) {
      collect(child, at, into);
    } else if (key !== "upstreams" && acceptsValue(docs) && !isList(docs.default)) {
      const kebab = at.map(kebabCase).join("-");
      into.push({
        path: at,
        flag: kebab,
        env: ENV_PREFIX + kebab.replaceAll("-", "_").toUpperCase(),
        doc: docs.doc,
        default: docs.default ?? null,
        choices: docs.choices,
        boolean: docs.boolean ?? false,
      });
    }
  }
}

/** A default of null is nothing given; where only null may be given, there is nothing to set. */
function acceptsValue({ default: standard, names, choices }: KeyDoc): boolean {
  return standard !== null || names !== undefined || choices !== undefined;
}

export function docsOf(field: z.core.$ZodType): KeyDoc {
  return keyDocs.get(field) ?? { doc: "" };
}

/** The keys of a section, seen through defaults, transforms and checks; undefined for what is no section. */
export function shapeOf(field: z.core.$ZodType): Readonly<Record<string, z.core.$ZodType>> | undefined {
  const inner = unwrap(field);
  return inner instanceof z.ZodObject ? inner.shape : undefined;
}

/** The keys that could stand where an unknown one was found. */
export function knownKeysAt(path: readonly PropertyKey[]): readonly string[] {
  let field: z.core.$ZodType | undefined = schema;
  for (const step of path) {
    if (field === undefined) return [];
    const inner = unwrap(field);
    if (inner instanceof z.ZodObject) field = shapeEntry(inner, String(step));
    else if (inner instanceof z.ZodRecord) field = inner.valueType;
    else field = inner instanceof z.ZodArray ? inner.element : undefined;
  }
  return field === undefined ? [] : Object.keys(shapeOf(field) ?? {});
}

/** The parts of a value that the schema knows, with the schema of each: keys of a section, entries of a map or list. */
export function childrenOf(
  field: z.core.$ZodType,
  value: unknown,
): readonly { readonly key: string | number; readonly field: z.core.$ZodType; readonly value: unknown }[] {
  const inner = unwrap(field);
  if (inner instanceof z.ZodArray) {
    return Array.isArray(value) ? value.map((item, key) => ({ key, field: inner.element, value: item })) : [];
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  return Object.entries(value).flatMap(([key, child]) => {
    const known = inner instanceof z.ZodRecord ? inner.valueType : shapeEntry(inner, key);
    return known === undefined ? [] : [{ key, field: known, value: child }];
  });
}

function shapeEntry(inner: z.core.$ZodType, key: string): z.core.$ZodType | undefined {
  return inner instanceof z.ZodObject && Object.hasOwn(inner.shape, key) ? inner.shape[key] : undefined;
}

function unwrap(field: z.core.$ZodType): z.core.$ZodType {
  if (
    field instanceof z.ZodPrefault ||
    field instanceof z.ZodDefault ||
    field instanceof z.ZodNullable ||
    field instanceof z.ZodOptional
  ) {
    return unwrap(field.unwrap());
  }
  // A pipe is either a transform in front of a section, or a transform behind a value.
  if (field instanceof z.ZodPipe) return unwrap(field.in instanceof z.ZodTransform ? field.out : field.in);
  return field;
}

function kebabCase(key: string): string {
  return key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function isList(value: KeyDoc["default"]): value is readonly string[] {
  return Array.isArray(value);
}
