/**
 * Puts one answer of the test upstream on the wire, with the faults that were scripted for it.
 */
import type { ServerResponse } from "node:http";
import type { Content } from "./content.ts";
import type { Fault, Gate, RecordedRequest } from "./faults.ts";

export interface Delivery {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly content: Content;
  /** First byte of the content to send, and the one after the last. */
  readonly start: number;
  readonly end: number;
}

export async function deliver(
  request: RecordedRequest,
  response: ServerResponse,
  delivery: Delivery,
  fault: Fault,
  signal: AbortSignal,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const ended = AbortSignal.any([signal, gone.signal]);
  request.outcome = "running";
  try {
    if (fault.delayHeadersMs !== undefined) await wait(fault.delayHeadersMs, ended);
    if (fault.gate?.afterBytes === "headers") await hold(fault.gate, ended);
    if (fault.dropConnection === true) return breakOff(request, response);
    const bodyBytes = Math.max(
      0,
      delivery.end - delivery.start + (fault.trailingBytes ?? 0) - (fault.missingBytes ?? 0),
    );
    request.status = delivery.status;
    response.writeHead(delivery.status, headersOf(delivery, bodyBytes, fault));
    if (request.method === "HEAD" || delivery.status === 304) return finish(request, response);
    response.flushHeaders();
    if (fault.delayBodyMs !== undefined) await wait(fault.delayBodyMs, ended);
    const stop = Math.min(fault.cutAfterBytes ?? Infinity, fault.stallAfterBytes ?? Infinity);
    const gateAt = typeof fault.gate?.afterBytes === "number" ? fault.gate.afterBytes : Infinity;
    const startedAt = performance.now();
    for (const piece of pieces(delivery, bodyBytes, fault)) {
      // Sent in parts that end exactly at the gate and at the place of breaking.
      for (let at = 0; at < piece.length; ) {
        if (request.bodyBytes === gateAt && fault.gate !== undefined) await hold(fault.gate, ended);
        if (request.bodyBytes >= stop) break;
        const limits = [piece.length - at, stop - request.bodyBytes];
        if (request.bodyBytes < gateAt) limits.push(gateAt - request.bodyBytes);
        if (fault.bytesPerSecond !== undefined) limits.push(Math.max(1, Math.floor(fault.bytesPerSecond / 50)));
        const part = piece.subarray(at, at + Math.min(...limits));
        if (!response.write(part)) await drained(response, ended);
        at += part.length;
        request.bodyBytes += part.length;
        if (fault.bytesPerSecond !== undefined) {
          const ahead = (request.bodyBytes / fault.bytesPerSecond) * 1000 - (performance.now() - startedAt);
          if (ahead > 1) await wait(ahead, ended);
        }
      }
      if (request.bodyBytes >= stop) break;
    }
    if (request.bodyBytes === gateAt && fault.gate !== undefined && bodyBytes === gateAt) await hold(fault.gate, ended);
    if (request.bodyBytes < bodyBytes || stop <= bodyBytes) {
      if (fault.cutAfterBytes !== undefined && request.bodyBytes >= fault.cutAfterBytes) {
        await flushed(response, ended);
        return breakOff(request, response);
      }
      await new Promise<void>((resolve) => ended.addEventListener("abort", () => resolve(), { once: true }));
      ended.throwIfAborted();
    }
    await finish(request, response);
  } catch (error) {
    if (!ended.aborted) throw error;
    if (request.outcome === "running") request.outcome = signal.aborted ? "broken by us" : "left by the client";
    response.destroy();
  }
}

function headersOf(delivery: Delivery, bodyBytes: number, fault: Fault): Record<string, string> {
  const headers: Record<string, string> = { ...delivery.headers };
  if (fault.omitContentLength !== true) headers["content-length"] = String(bodyBytes);
  if (fault.contentType !== undefined) headers["content-type"] = fault.contentType;
  if (fault.omitDigestHeader === true) delete headers["docker-content-digest"];
  if (fault.retryAfter !== undefined) headers["retry-after"] = fault.retryAfter;
  for (const [name, value] of Object.entries(fault.headers ?? {})) {
    if (value === undefined) delete headers[name.toLowerCase()];
    else headers[name.toLowerCase()] = value;
  }
  return headers;
}

function* pieces(delivery: Delivery, bodyBytes: number, fault: Fault): Iterable<Buffer> {
  let at = delivery.start;
  let left = bodyBytes;
  for (const chunk of delivery.content.read(delivery.start, delivery.end)) {
    const flip = (fault.flipAtByte ?? -1) - at;
    if (flip >= 0 && flip < chunk.length) chunk.writeUInt8(chunk.readUInt8(flip) ^ 0xff, flip);
    at += chunk.length;
    if (left <= 0) return;
    yield left < chunk.length ? chunk.subarray(0, left) : chunk;
    left -= chunk.length;
  }
  if (left > 0) yield Buffer.alloc(left, "x");
}

async function hold(gate: Gate, ended: AbortSignal): Promise<void> {
  await unlessEnded(gate.pass(), ended);
}

function wait(ms: number, ended: AbortSignal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const waited = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  return unlessEnded(waited, ended).finally(() => clearTimeout(timer));
}

function drained(response: ServerResponse, ended: AbortSignal): Promise<void> {
  return unlessEnded(new Promise((resolve) => response.once("drain", resolve)), ended);
}

/** What was written is with the kernel, so that a cut comes after it and not instead of it. */
function flushed(response: ServerResponse, ended: AbortSignal): Promise<void> {
  const socket = response.socket;
  if (socket === null || socket.writableLength === 0) return Promise.resolve();
  return unlessEnded(new Promise<void>((resolve) => socket.write("", () => resolve())), ended);
}

async function finish(request: RecordedRequest, response: ServerResponse): Promise<void> {
  request.outcome = "complete";
  response.end();
}

function breakOff(request: RecordedRequest, response: ServerResponse): void {
  request.outcome = "broken by us";
  response.destroy();
}

function unlessEnded<T>(promise: Promise<T>, ended: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(ended.reason);
    if (ended.aborted) return onAbort();
    ended.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => ended.removeEventListener("abort", onAbort));
  });
}
