/**
 * Who runs on a cache directory: a small file in it, for whoever comes second and wants to talk to the first.
 *
 * It is a signpost and no lock: what it says may be of a process that is gone. Whoever follows it compares `instance` with
 * what answers there.
 */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ListenAddress } from "./config/units.ts";

export interface Owner {
  readonly instance: string;
  readonly pid: number;
  readonly host: string;
  readonly version: string;
  /** As bound. */
  readonly admin: ListenAddress;
}

const FILE = "owner.json";
const MAX_BYTES = 4096;

/** Best effort: a mirror runs without. */
export async function writeOwner(cacheDir: string, owner: Owner): Promise<void> {
  const path = join(cacheDir, FILE);
  const fresh = `${path}.${owner.pid}`;
  try {
    await writeFile(fresh, `${JSON.stringify(owner)}\n`);
    await rename(fresh, path);
  } catch {
    await rm(fresh, { force: true }).catch(() => {});
  }
}

/** Removes the file where it is this owner's. */
export async function dropOwner(cacheDir: string, instance: string): Promise<void> {
  if ((await findOwner(cacheDir))?.instance === instance)
    await rm(join(cacheDir, FILE), { force: true }).catch(() => {});
}

/** Undefined where there is none, or none that can be read. */
export async function findOwner(cacheDir: string): Promise<Owner | undefined> {
  try {
    const text = await readFile(join(cacheDir, FILE), "utf8");
    return text.length > MAX_BYTES ? undefined : ownerOf(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function ownerOf(value: unknown): Owner | undefined {
  const { instance, pid, host, version, admin } = membersOf(value);
  const { host: adminHost, port } = membersOf(admin);
  if (typeof instance !== "string" || typeof pid !== "number" || typeof adminHost !== "string") return undefined;
  if (typeof port !== "number" || typeof host !== "string" || typeof version !== "string") return undefined;
  return { instance, pid, host, version, admin: { host: adminHost, port } };
}

function membersOf(value: unknown): Partial<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}
