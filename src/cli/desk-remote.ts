/**
 * A running mirror of the same cache directory: found by what its owner left there, or where the configuration says it
 * listens; asked over HTTP.
 */
import { resolve } from "node:path";
import { isFailure } from "../base/failure.ts";
import type { Config, ListenAddress } from "../config/schema.ts";
import { listenText } from "../config/units.ts";
import { askAdmin } from "../http/admin-client.ts";
import type { Owner } from "../owner.ts";
import { deskOver, type Messenger, memberOf } from "./desk-talk.ts";

const GREETING_MS = 3000;

/** The address of its admin API; undefined where none of this cache answers. */
export async function findRunning(config: Config, owner: Owner | undefined): Promise<ListenAddress | undefined> {
  const configured = config.admin.listen.port === 0 ? [] : [config.admin.listen];
  const tried = new Map(
    [...(owner === undefined ? [] : [owner.admin]), ...configured].map((one) => [listenText(one), one]),
  );
  for (const address of tried.values()) {
    const found = await greet(address);
    if (found === undefined) continue;
    const isOwner = owner !== undefined && found.instance === owner.instance;
    if (isOwner || found.cacheDir === resolve(config.cache.dir)) return address;
  }
  return undefined;
}

export function messengerTo(address: ListenAddress): Messenger {
  return { remote: true, send: (question) => askAdmin(address, question), async close() {} };
}

/** Who answers there; undefined for nobody, and for whoever is no wharfinger. */
async function greet(address: ListenAddress): Promise<{ instance: unknown; cacheDir: unknown } | undefined> {
  const signal = AbortSignal.timeout(GREETING_MS);
  const messenger = messengerTo(address);
  const send: Messenger["send"] = (question) => messenger.send({ ...question, signal, timeoutMs: GREETING_MS });
  try {
    const status = await deskOver({ ...messenger, send }).call("GET", "/api/v1/status");
    if (memberOf(status, "product") !== "wharfinger") return undefined;
    return { instance: memberOf(status, "instance"), cacheDir: memberOf(memberOf(status, "cache"), "dir") };
  } catch (error) {
    if (isFailure(error) || signal.aborted) return undefined;
    throw error;
  }
}
