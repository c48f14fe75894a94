/**
 * TLS in the benchmark: one certificate for all, and one request over HTTP/1.1 or HTTP/2 whose bytes are hashed.
 *
 * The certificate is the tests' own; nobody here checks it, since who is asked is known.
 */
import { createHash } from "node:crypto";
import { connect } from "node:http2";
import { request } from "node:https";
import { join } from "node:path";

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

const WINDOW_BYTES = 16 * 1024 * 1024;
const KIT = join(import.meta.dirname, "../test/kit/tls");
export const CERTIFICATE: Certificate = { cert: join(KIT, "server.pem"), key: join(KIT, "server-key.pem") };

export type Protocol = "http/1.1" | "h2";

export interface SecureAnswer {
  readonly status: number;
  readonly digest: string;
}

export function hashSecurely(port: number, path: string, protocol: Protocol): Promise<SecureAnswer> {
  return protocol === "h2" ? overHttp2(port, path) : overHttp1(port, path);
}

function overHttp1(port: number, path: string): Promise<SecureAnswer> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, rejectUnauthorized: false, agent: false };
    const asked = request(options, (answer) => {
      const sum = createHash("sha256");
      answer.on("data", (chunk: Buffer) => sum.update(chunk));
      answer.on("error", reject);
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, digest: `sha256:${sum.digest("hex")}` }));
    });
    asked.on("error", reject);
    asked.end();
  });
}

function overHttp2(port: number, path: string): Promise<SecureAnswer> {
  return new Promise<SecureAnswer>((resolve, reject) => {
    const session = connect(`https://127.0.0.1:${port}`, {
      rejectUnauthorized: false,
      settings: { initialWindowSize: WINDOW_BYTES },
    });
    // The connection has a window of its own, 64 KiB by default.
    session.once("connect", () => session.setLocalWindowSize(WINDOW_BYTES));
    const end = (how: () => void) => {
      session.destroy();
      how();
    };
    session.on("error", (error) => end(() => reject(error)));
    const asked = session.request({ ":path": path });
    const sum = createHash("sha256");
    let status = 0;
    asked.on("response", (headers) => {
      status = headers[":status"] ?? 0;
    });
    asked.on("data", (chunk: Buffer) => sum.update(chunk));
    asked.on("error", (error) => end(() => reject(error)));
    asked.on("end", () => end(() => resolve({ status, digest: `sha256:${sum.digest("hex")}` })));
  });
}
