/**
 * The commonest request there is, answered straight from the socket: GET or HEAD of a manifest by tag that is fresh and
 * in memory.
 *
 * A connection begins here. As soon as it brings anything that is not exactly one such request in its plainest form, it
 * goes to the HTTP server with what has been read, for good: nothing here understands HTTP but that. So every request
 * answered here is answered at once, and a connection that is here is idle. What a head means depends on its bytes
 * alone, so that is found out once for each and remembered.
 */
import type { Socket } from "node:net";
import { LRUCache } from "lru-cache";
import { atMost } from "../base/bounded.ts";
import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { ManifestAnswer, Manifests } from "../mirror/manifests.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { makeRoute, type Route, type Source } from "../mirror/route.ts";
import { cacheLabel } from "../mirror/verdict.ts";
import type { Tag } from "../oci/reference.ts";
import { type RoutingTable, routeTo } from "../upstream/registries/routing.ts";
import { parseCall } from "./call.ts";
import { bodyHeaders, manifestHeaders } from "./manifests.ts";
import { parsePlainHead } from "./plainhead.ts";
import { namespaceText } from "./reply.ts";
import { newRequestId } from "./requestid.ts";

export interface FastPathParts {
  readonly manifests: Manifests;
  readonly routing: RoutingTable<Source>;
  readonly notices: Emitter<MirrorNotices>;
  readonly keepAliveMs: number;
}

/** What a request head means. */
interface Meaning {
  readonly method: "GET" | "HEAD";
  readonly path: string;
  readonly userAgent: string | undefined;
  readonly route: Route;
  readonly tag: Tag;
  readonly ns: string | undefined;
  rendered: Rendered | undefined;
}

/** An answer without its request's id, and what it was made of. */
interface Rendered {
  readonly digest: string;
  readonly ageSeconds: number;
  readonly ttlSeconds: number;
  readonly dateSeconds: number;
  readonly before: string;
  readonly after: string;
}

const MAX_HEAD_BYTES = 2048;
const MAX_HEADS = 2000;
/** Larger ones are rare, and every answer here is a copy of its own. */
const MAX_BODY_BYTES = 64 * 1024;
const BODIES_BYTES = 8 * 1024 * 1024;
/** Stands for the request's id while an answer is put together. */
const ID = "\0";

export class FastPath {
  readonly #parts: FastPathParts;
  readonly #meanings = new LRUCache<string, Meaning>(atMost(MAX_HEADS));
  /** Bodies of answers, by digest: many heads ask for the same few. */
  readonly #bodies = new LRUCache<string, string>({
    maxSize: BODIES_BYTES,
    sizeCalculation: ({ length }) => length + 1,
  });
  /** What each connection does when it shall end. */
  readonly #connections = new Map<Socket, () => void>();
  readonly #ending = new Set<Socket>();

  constructor(parts: FastPathParts) {
    this.#parts = parts;
  }

  /**
   * Takes a new connection.
   * @param firstMs how long it may stay silent at first.
   * @param handOver makes it the HTTP server's; called at most once.
   */
  take(socket: Socket, firstMs: number, handOver: (socket: Socket, head: Buffer) => void): void {
    const { remoteAddress } = socket;
    const { keepAliveMs } = this.#parts;
    let answered = false;
    const leave = () => {
      this.#connections.delete(socket);
      this.#ending.delete(socket);
      socket.off("data", onData).off("end", onEnd).off("error", onError).off("close", leave).off("timeout", onTimeout);
      socket.setTimeout(0);
    };
    const onData = (chunk: Buffer) => {
      if (chunk.length <= MAX_HEAD_BYTES && socket.writableLength === 0) {
        const text = this.#tryAnswer(chunk.toString("latin1"), remoteAddress);
        if (text !== undefined) {
          socket.write(text, "latin1");
          if (!answered) socket.setTimeout(keepAliveMs);
          answered = true;
          return;
        }
      }
      leave();
      handOver(socket, chunk);
    };
    const onEnd = () => socket.end();
    const onError = () => socket.destroy();
    const onTimeout = () => socket.destroy();
    const end = () => {
      // A request that comes now is not answered any more.
      socket.off("data", onData);
      socket.resume();
      socket.destroySoon();
    };
    this.#connections.set(socket, end);
    socket.on("data", onData).on("end", onEnd).on("error", onError).on("close", leave).on("timeout", onTimeout);
    socket.setTimeout(firstMs);
  }

  /** Ends every connection that is here as soon as it has taken its last answer. */
  closeIdle(): void {
    for (const [socket, end] of this.#connections) {
      this.#connections.delete(socket);
      this.#ending.add(socket);
      end();
    }
  }

  /** Breaks every connection off. */
  destroy(): void {
    for (const socket of [...this.#connections.keys(), ...this.#ending]) socket.destroy();
  }

  /** What goes wrong here is for the HTTP server to answer, and to tell. */
  #tryAnswer(head: string, remoteAddress: string | undefined): string | undefined {
    try {
      return this.#answer(head, remoteAddress);
    } catch {
      return undefined;
    }
  }

  /** The whole answer; undefined where it is not for here. */
  #answer(head: string, remoteAddress: string | undefined): string | undefined {
    const startedAt = performance.now();
    const meaning = this.#meanings.get(head) ?? this.#learn(head);
    if (meaning === undefined) return undefined;
    const { method, route, tag } = meaning;
    const answer = this.#parts.manifests.peek(route, tag, method === "GET");
    if (answer?.bytes === undefined || answer.sizeBytes > MAX_BODY_BYTES) return undefined;
    const requestId = newRequestId();
    const { before, after } = render(meaning, answer, this.#parts.keepAliveMs);
    const text = before + requestId + after + (method === "GET" ? this.#bodyOf(answer.digest, answer.bytes) : "");
    const endedAt = performance.now();
    this.#parts.notices.emit("answered", {
      requestId,
      method,
      path: meaning.path,
      remoteAddress,
      userAgent: meaning.userAgent,
      upstream: route.upstream,
      kind: "manifest",
      repository: route.repository,
      reference: tag,
      status: 200,
      bytes: method === "GET" ? answer.sizeBytes : 0,
      firstByteMs: endedAt - startedAt,
      totalMs: endedAt - startedAt,
      cache: cacheLabel(answer.verdict),
      aborted: false,
      error: undefined,
    });
    return text;
  }

  #bodyOf(digest: string, bytes: Buffer): string {
    let body = this.#bodies.get(digest);
    if (body === undefined) {
      body = bytes.toString("latin1");
      this.#bodies.set(digest, body);
    }
    return body;
  }

  #learn(head: string): Meaning | undefined {
    const plain = parsePlainHead(head);
    if (plain === undefined) return undefined;
    try {
      const { call, ns, prefix } = parseCall(plain.target);
      if (call.kind !== "manifest" || call.reference.type !== "tag") return undefined;
      const { upstream, repository } = routeTo(this.#parts.routing, { ns, prefix, host: plain.host }, call.name);
      const { method, userAgent } = plain;
      const path = plain.target.split("?", 1)[0] ?? "";
      const route = makeRoute(upstream, repository);
      const meaning = { method, path, userAgent, route, tag: call.reference.tag, ns, rendered: undefined };
      this.#meanings.set(head, meaning);
      return meaning;
    } catch (error) {
      if (isFailure(error)) return undefined;
      throw error;
    }
  }
}

/** Only the request's id differs between two answers of the same second. */
function render(meaning: Meaning, answer: ManifestAnswer, keepAliveMs: number): Rendered {
  const { digest, ageMs = 0, verdict } = answer;
  const ageSeconds = Math.floor(ageMs / 1000);
  const ttlSeconds = Math.floor(("ttlMs" in verdict ? (verdict.ttlMs ?? 0) : 0) / 1000);
  const dateSeconds = Math.floor(Date.now() / 1000);
  const last = meaning.rendered;
  if (
    last?.digest === digest &&
    last.ageSeconds === ageSeconds &&
    last.ttlSeconds === ttlSeconds &&
    last.dateSeconds === dateSeconds
  ) {
    return last;
  }
  const headers = bodyHeaders(manifestHeaders(ID, { type: "tag", tag: meaning.tag }, answer), answer);
  if (meaning.ns !== undefined) headers["OCI-Namespace"] = namespaceText(meaning.ns);
  const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const date = new Date(dateSeconds * 1000).toUTCString();
  const connection = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n`;
  const head = `HTTP/1.1 200 OK\r\n${fields.join("")}Date: ${date}\r\n${connection}\r\n`;
  const at = head.indexOf(ID);
  const before = head.slice(0, at);
  const after = head.slice(at + ID.length);
  meaning.rendered = { digest, ageSeconds, ttlSeconds, dateSeconds, before, after };
  return meaning.rendered;
}
