/**
 * One request over a HTTP/2 connection of its own, with an answer that looks like one of HTTP/1.1.
 */
import type { IncomingMessage } from "node:http";
import { type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";

export interface H2RequestOptions {
  readonly method: string;
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly path: string | undefined;
  readonly body: Uint8Array | string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** The answer with its body unread; `complete` says whether it came to its end. */
export function openH2(url: URL, options: H2RequestOptions): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const session = connect(url.origin, { rejectUnauthorized: false, settings: { initialWindowSize: 1024 * 1024 } });
    // Told by the stream, if there is one.
    session.on("error", reject);
    const headers: OutgoingHttpHeaders = {
      ":method": options.method,
      ":path": options.path ?? `${url.pathname}${url.search}`,
    };
    for (const [name, value] of Object.entries(options.headers)) {
      // HTTP/2 has another place for the first, and no place for the second.
      if (/^host$/i.test(name)) headers[":authority"] = value;
      else if (!/^(connection|transfer-encoding|te)$/i.test(name)) headers[name] = value;
    }
    const { body, signal } = options;
    const sent = session.request(headers, {
      endStream: body === undefined,
      ...(signal === undefined ? {} : { signal }),
    });
    sent.on("error", reject);
    sent.on("close", () => {
      reject(new Error("the stream ended without an answer"));
      session.destroy();
    });
    sent.on("response", (received) => {
      const { ":status": status, ...rest } = received;
      resolve(answerOf(sent, status ?? 0, rest));
    });
    if (body !== undefined) sent.end(body);
  });
}

function answerOf(stream: ClientHttp2Stream, statusCode: number, headers: object): IncomingMessage {
  let received = 0;
  const push = stream.push.bind(stream);
  stream.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk instanceof Uint8Array) received += chunk.length;
    return push(chunk, encoding);
  };
  const announced = Number((headers as Record<string, string>)["content-length"] ?? Number.NaN);
  return Object.defineProperties(stream as unknown as IncomingMessage, {
    statusCode: { value: statusCode },
    headers: { value: headers },
    complete: {
      get: () => {
        const whole = Number.isNaN(announced) || received === announced || stream.sentHeaders[":method"] === "HEAD";
        return stream.readableEnded && (stream.rstCode ?? 0) === 0 && (whole || statusCode === 304);
      },
    },
  });
}
