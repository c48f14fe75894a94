/**
 * HTTP/2 on connections that have agreed to it: sessions whose every part is bounded, and streams handed to the same
 * handler as requests of HTTP/1.1.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import type { TLSSocket } from "node:tls";
import { H2Request, H2Response } from "./h2message.ts";

export interface H2Limits {
  /** Until a connection's first request. */
  readonly headersTimeoutMs: number;
  /** A connection without running requests is closed after so long. */
  readonly keepAliveMs: number;
  /** A request on which nothing moves for so long is reset. */
  readonly stallMs: number;
  readonly maxHeaderBytes: number;
}

/** What pulls need many times over: clients fetch a handful of layers at a time. RFC 9113 advises not to go below. */
const MAX_STREAMS = 100;
/** Of bodies that wait for one connection's client, about: the more streams there are, the smaller their chunks. */
const MAX_WAITING_BYTES = 32 * 1024 * 1024;
const MAX_CHUNK_BYTES = 1024 * 1024;
const CHUNKS_PER_STREAM = 2;
/** Frames that ask something of us and are no requests; in each span of time. Clients ping every few seconds. */
const MAX_CHATTER = 200;
const CHATTER_SPAN_MS = 10_000;
/** Until the end of a connection has left, or has not. */
const LAST_WORDS_MS = 1000;

function sessionOptions({ maxHeaderBytes }: H2Limits): ServerOptions {
  return {
    settings: {
      maxConcurrentStreams: MAX_STREAMS,
      // Nothing is taken in but headers: a body is refused unread, and no more of one than this arrives.
      initialWindowSize: 16 * 1024,
      // As over HTTP/1.1. Announced, and held to by the library as it reads: a flood of CONTINUATION frames ends there.
      maxHeaderListSize: maxHeaderBytes,
      // The smallest there is; we read nothing that wants more.
      maxFrameSize: 16 * 1024,
      // A few dozen headers that repeat: the default, said so that it stays bounded with another version.
      headerTableSize: 4096,
      enablePush: false,
    },
    // Headers come in lines as well as bytes; each line costs an object.
    maxHeaderListPairs: 128,
    // CVE-2023-44487: requests that are taken back cost us as much as others. A client that gives up all it has running may
    // do so at once; then so many a second, and the connection ends.
    streamResetBurst: 2 * MAX_STREAMS,
    streamResetRate: 20,
    // Megabytes. Bodies that wait for the client count, and those of streams that were given up count for ever (seen with
    // Node 26), until every further request is refused: no limit, then. Bodies are bounded by `MAX_STREAMS` and
    // `MAX_WAITING_BYTES`, everything else by the limits around this one.
    maxSessionMemory: 1_000_000,
    // We send none: nothing is kept for their answers.
    maxOutstandingPings: 1,
    // Entries of one SETTINGS frame; a dozen are defined.
    maxSettings: 32,
    // Broken frames, and streams beyond the limit, before the connection ends.
    maxSessionInvalidFrames: 20,
    maxSessionRejectedStreams: 2 * MAX_STREAMS,
  };
}

export class H2Door {
  readonly #handle: RequestListener;
  readonly #limits: H2Limits;
  readonly #options: ServerOptions;
  readonly #sessions = new Map<ServerHttp2Session, TLSSocket>();
  #draining = false;

  constructor(handle: RequestListener, limits: H2Limits) {
    this.#handle = handle;
    this.#limits = limits;
    this.#options = sessionOptions(limits);
  }

  /** Takes over a connection whose handshake chose `h2`. */
  take(socket: TLSSocket): void {
    const session = performServerHandshake(socket, this.#options);
    const { remoteAddress } = socket;
    this.#sessions.set(session, socket);
    // Not the session's end: its socket may wait longer, for a client that reads nothing.
    socket.once("close", () => this.#sessions.delete(session));
    // What is wrong with a session has ended it.
    session.on("error", () => {});
    const { NGHTTP2_NO_ERROR, NGHTTP2_ENHANCE_YOUR_CALM } = constants;
    boundChatter(session, () => endSession(session, socket, NGHTTP2_ENHANCE_YOUR_CALM));
    const idle = this.#boundIdleness(session, () => endSession(session, socket, NGHTTP2_NO_ERROR));
    session.on("stream", (stream, headers, flags) => {
      const running = idle.begin();
      stream.once("close", idle.end);
      const hasBody = (flags & constants.NGHTTP2_FLAG_END_STREAM) === 0;
      this.#serve(new H2Request(headers, hasBody, remoteAddress), stream, running);
    });
    if (this.#draining) session.close();
  }

  /** Tells all clients to send no more requests (GOAWAY); each connection ends with its last running one. */
  drain(): void {
    this.#draining = true;
    for (const session of this.#sessions.keys()) session.close();
  }

  /** Breaks everything off. */
  destroy(): void {
    for (const [session, socket] of this.#sessions) {
      session.destroy();
      socket.destroy();
    }
  }

  #serve(request: H2Request, stream: ServerHttp2Stream, running: number): void {
    const chunkBytes = Math.min(MAX_CHUNK_BYTES, MAX_WAITING_BYTES / CHUNKS_PER_STREAM / running);
    const response = new H2Response(stream, Math.floor(chunkBytes));
    // Not the session's: that one's moves with every frame of the client's, and is kept alive by pings.
    stream.setTimeout(this.#limits.stallMs, () => stream.close(constants.NGHTTP2_CANCEL));
    // The one place where they are taken for what they look like.
    this.#handle(request as unknown as IncomingMessage, response as unknown as ServerResponse);
  }

  /**
   * Ends the session when it has had no request for too long, whatever else the client sends. `begin` returns how many
   * requests run.
   */
  #boundIdleness(session: ServerHttp2Session, end: () => void): { begin(): number; readonly end: () => void } {
    let running = 0;
    let timer = setTimeout(end, this.#limits.headersTimeoutMs);
    session.once("close", () => clearTimeout(timer));
    return {
      begin: () => {
        running += 1;
        clearTimeout(timer);
        return running;
      },
      end: () => {
        running -= 1;
        if (running > 0 || session.destroyed) return;
        clearTimeout(timer);
        timer = setTimeout(end, this.#limits.keepAliveMs);
      },
    };
  }
}

/** Says why (GOAWAY) and hangs up, whether or not the client reads it. */
function endSession(session: ServerHttp2Session, socket: TLSSocket, code: number): void {
  if (session.destroyed) return;
  session.destroy(undefined, code);
  const timer = setTimeout(() => socket.destroy(), LAST_WORDS_MS);
  socket.once("close", () => clearTimeout(timer));
}

/** Ends a session that keeps us answering frames which are no requests: floods of PING and SETTINGS. */
function boundChatter(session: ServerHttp2Session, end: () => void): void {
  let count = 0;
  let since = 0;
  const onFrame = () => {
    const now = performance.now();
    if (now - since > CHATTER_SPAN_MS) {
      since = now;
      count = 0;
    }
    count += 1;
    if (count > MAX_CHATTER) end();
  };
  session.on("ping", onFrame);
  session.on("remoteSettings", onFrame);
}
