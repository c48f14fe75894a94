/**
 * Hands an upstream's body on without storing it: exactly the announced number of bytes, or a broken connection.
 */
import type { Readable } from "node:stream";
import { Failure } from "../base/failure.ts";
import type { Exchange } from "./exchange.ts";

const STALL_MS = 30_000;

/**
 * Takes over the body, of an answer whose headers have been set, and ends the answer with it unless told otherwise.
 * @param onFailure called with what kept the body from its end; the answer may not have begun then.
 * @param onEnd called instead of ending the answer, when the body is at its end and handed over.
 */
export function passOn(
  exchange: Exchange,
  body: Readable,
  lengthBytes: number,
  onFailure: (error: Error) => void,
  onEnd: () => void = () => exchange.end(),
): void {
  const { response } = exchange;
  let sent = 0;
  let over = false;
  let stalled: NodeJS.Timeout | undefined;
  const drained = () => {
    clearTimeout(stalled);
    body.resume();
  };
  const stop = () => {
    over = true;
    clearTimeout(stalled);
    response.off("drain", drained);
    response.off("close", gone);
    body.destroy();
  };
  const gone = () => stop();
  const fail = (error: Error) => {
    if (over) return;
    stop();
    onFailure(error);
  };
  response.on("drain", drained);
  response.once("close", gone);
  // What it complains of after it was given up is nobody's business.
  body.on("error", fail);
  if (exchange.gone) {
    stop();
    return;
  }
  if (body.destroyed) {
    fail(body.errored ?? new Failure("unreachable", "the upstream broke off"));
    return;
  }
  exchange.headSoon();
  body.on("data", (chunk: Buffer) => {
    if (over) return;
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
    if (over) return;
    if (sent !== lengthBytes) {
      fail(new Failure("unreachable", `the upstream ended after ${sent} of ${lengthBytes} bytes`));
      return;
    }
    stop();
    onEnd();
  });
  body.once("close", () => fail(new Failure("unreachable", "the upstream broke off")));
}
