/**
 * Hands an upstream's body on without storing it: exactly the announced number of bytes, or a broken connection.
 */
import type { Readable } from "node:stream";
import { Failure } from "../base/failure.ts";
import type { Exchange } from "./exchange.ts";

const STALL_MS = 30_000;

/**
 * Takes over the body and ends the answer, whose headers have been set.
 * @param onFailure called with what kept the body from its end; the answer may not have begun then.
 */
export function passOn(
  exchange: Exchange,
  body: Readable,
  lengthBytes: number,
  onFailure: (error: Error) => void,
): void {
  const { response } = exchange;
  let sent = 0;
  const fail = (error: Error) => {
    body.destroy();
    onFailure(error);
  };
  let stalled: NodeJS.Timeout | undefined;
  response.on("drain", () => {
    clearTimeout(stalled);
    body.resume();
  });
  response.once("close", () => {
    clearTimeout(stalled);
    body.destroy();
  });
  if (exchange.gone) {
    body.destroy();
    return;
  }
  if (body.destroyed) {
    fail(body.errored ?? new Failure("unreachable", "the upstream broke off"));
    return;
  }
  exchange.headSoon();
  body.on("data", (chunk: Buffer) => {
    sent += chunk.length;
    if (sent > lengthBytes) {
      fail(new Failure("corrupt", "the upstream sent more than it announced"));
      return;
    }
    if (!exchange.write(chunk)) {
      body.pause();
      clearTimeout(stalled);
      // What was under way when the client left has nobody to wait for.
      if (exchange.gone) return;
      // Who does not read holds a connection to the upstream: not for long.
      stalled = setTimeout(() => fail(new Failure("unreachable", "the client stopped reading")), STALL_MS);
    }
  });
  body.once("end", () => {
    if (sent === lengthBytes) exchange.end();
    else fail(new Failure("unreachable", `the upstream ended after ${sent} of ${lengthBytes} bytes`));
  });
  body.once("close", () => {
    if (!response.writableEnded && !response.destroyed) fail(new Failure("unreachable", "the upstream broke off"));
  });
  body.on("error", (error) => {
    if (!response.destroyed) fail(error);
  });
}
