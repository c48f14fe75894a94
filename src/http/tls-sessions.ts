/**
 * TLS sessions by their ids, for clients of TLS 1.2 that take no tickets. Tickets need nothing kept: the client holds
 * them. Bounded in number and time, and emptied whenever what a session was checked against changes.
 */
import type { Server as TlsServer } from "node:tls";
import { LRUCache } from "lru-cache";
import { SESSION_SECONDS } from "./tls-material.ts";

/** One takes one to two kilobytes. */
const MAX_SESSIONS = 2000;

export class TlsSessions {
  readonly #sessions = new LRUCache<string, Buffer>({ max: MAX_SESSIONS, ttl: SESSION_SECONDS * 1000 });

  attach(server: TlsServer): void {
    server.on("newSession", (id, data, done) => {
      this.#sessions.set(id.toString("latin1"), data);
      done();
    });
    server.on("resumeSession", (id, done) => done(null, this.#sessions.get(id.toString("latin1"))));
  }

  clear(): void {
    this.#sessions.clear();
  }
}
