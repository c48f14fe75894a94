/**
 * The store itself, where no mirror runs: a mirror that does not listen, built in this process for the length of a command.
 */
import { Readable } from "node:stream";
import type { Config } from "../config/schema.ts";
import { recoveryText } from "../meta/recovery.ts";
import type { Messenger } from "./desk-talk.ts";
import { plain } from "./wording.ts";
import type { World } from "./world.ts";

/**
 * @param offline as configured, whatever is done without asking upstreams.
 * @throws Failure as `createMirror` does: `storage` where another process holds the store.
 */
export async function openOwnMirror(config: Config, world: World, offline: boolean): Promise<Messenger> {
  const createMirror = await world.loadMirror();
  const mirror = await createMirror({ ...config, workers: 1 }, { log: false });
  const { api, recovery } = mirror;
  if (api === undefined) throw new Error("the mirror has no admin API");
  // The next mirror that starts finds an index that is whole, and has nothing to tell of it.
  if (recovery !== undefined) world.stderr.write(`wharfinger: warning: ${plain(recoveryText(recovery, offline))}\n`);
  return {
    remote: false,
    async send({ method, path, query, contentType, body, signal }) {
      const stream = body instanceof Readable ? body : Readable.from(body === undefined ? [] : [Buffer.from(body)]);
      const answer = await api.answer({ method, path, query, contentType, body: stream, signal });
      // In the own process a bug has a stack to tell.
      if (answer.bug !== undefined) throw answer.bug;
      const { "Content-Type": type, "Content-Length": length } = answer.headers;
      return {
        status: answer.status,
        contentType: type === undefined ? undefined : String(type),
        lengthBytes: length === undefined ? undefined : Number(length),
        body: typeof answer.body === "string" ? Readable.from([Buffer.from(answer.body)]) : answer.body,
      };
    },
    close: () => mirror.stop(),
  };
}
