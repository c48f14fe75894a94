/**
 * Finds whom to ask: the mirror that runs on the configured cache directory, or, where none does, the store itself.
 */
import { existsSync } from "node:fs";
import { hostname } from "node:os";
import { Failure, isFailure } from "../base/failure.ts";
import type { Config } from "../config/schema.ts";
import { listenText } from "../config/units.ts";
import type { Owner } from "../owner.ts";
import type { Desk } from "./desk.ts";
import type { World } from "./world.ts";

/**
 * @param use `look`: only what is stored, so no credentials are opened and no cache is made; `work`: upstreams may be asked.
 * @throws Failure `unknown`: there is no cache; `storage`: it is held by a process that cannot be asked.
 */
export async function openDesk(config: Config, world: World, use: "look" | "work" = "work"): Promise<Desk> {
  const { findOwner } = await import("../owner.ts");
  const { findRunning, messengerTo } = await import("./desk-remote.ts");
  const { deskOver } = await import("./desk-talk.ts");
  const { dir } = config.cache;
  const owner = await findOwner(dir);
  const address = await findRunning(config, owner);
  if (address !== undefined) return deskOver(messengerTo(address));
  if (use === "look" && !existsSync(dir))
    throw new Failure("unknown", `there is no cache at ${dir}, and no mirror runs`);
  const { openOwnMirror } = await import("./desk-local.ts");
  try {
    return deskOver(await openOwnMirror(use === "look" ? { ...config, offline: true } : config, world, config.offline));
  } catch (error) {
    throw isFailure(error, "storage") && error.message.includes("in use") ? heldBy(config, owner, error) : error;
  }
}

function heldBy(config: Config, owner: Owner | undefined, cause: Failure): Failure {
  const own = owner?.host === hostname() ? "" : ` on ${owner?.host}`;
  const who = owner === undefined ? "another process" : `process ${owner.pid}${own}`;
  const where = listenText(owner?.admin ?? config.admin.listen);
  const message =
    `the cache directory ${config.cache.dir} is in use by ${who}, and no admin API of it answers at ${where}: ` +
    "give --admin-listen the address that it has, or try again when that process has ended";
  return new Failure("storage", message, { cause });
}
