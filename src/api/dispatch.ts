/**
 * From a request to an operation and its answer, whoever asks: the admin listener, or a command in its own process.
 *
 * Everything has a bound: how much of a body is read and for how long, how many operations run at a time. All that runs
 * ends when whoever asked leaves, and when the mirror stops.
 */
import type * as z from "zod";
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import type { ApiAnswer, ApiRequest } from "./exchange.ts";
import { readAtMost } from "./intake.ts";
import { linesOf, streamOf } from "./lines.ts";
import type { ApiCall, Operation } from "./operation.ts";
import { jsonAnswer, type Problem, problemAnswer, problemOf } from "./problem.ts";
import { readQuery } from "./query.ts";

export interface ApiParts {
  readonly operations: readonly Operation[];
  readonly clock: Clock;
  /** Aborts when the mirror stops. */
  readonly signal: AbortSignal;
  readonly onBug: (what: string, error: unknown) => void;
}

const MAX_RUNNING = 128;
/** Of operations that take long, by what holds them up: one kind never keeps another out. */
const MAX_LONG = { events: 16, download: 8, upload: 8 } as const;
type Long = keyof typeof MAX_LONG;
/** A failure that comes so soon is told by the answer's status. */
const HEAD_PATIENCE_MS = 1000;
const ENDING_MS = 5000;

/** What a page of another site may send without being allowed to (Fetch specification, CORS-safelisted), and JSON. */
const NO_STREAM = /^(?:text\/|multipart\/|application\/(?:json|x-www-form-urlencoded)\b)/;

export class Api {
  readonly operations: readonly Operation[];
  readonly #parts: ApiParts;
  readonly #byPath = new Map<string, Map<string, Operation>>();
  readonly #running = new Set<Promise<unknown>>();
  readonly #long: Record<Long, number> = { events: 0, download: 0, upload: 0 };

  constructor(parts: ApiParts) {
    this.#parts = parts;
    this.operations = parts.operations;
    for (const operation of parts.operations) {
      const methods = this.#byPath.get(operation.path) ?? new Map<string, Operation>();
      if (methods.has(operation.method)) throw new Error(`two operations: ${operation.method} ${operation.path}`);
      this.#byPath.set(operation.path, methods.set(operation.method, operation));
    }
  }

  /** Never throws. */
  async answer(request: ApiRequest): Promise<ApiAnswer> {
    const methods = this.#byPath.get(request.path);
    if (methods === undefined) {
      const message = "there is no such operation; GET /api/v1/openapi.json lists all";
      return problemAnswer({ kind: "unknown", message });
    }
    const allow = [...methods.keys(), ...(methods.has("GET") ? ["HEAD"] : []), "OPTIONS"].join(", ");
    if (request.method === "OPTIONS") return { status: 204, headers: { Allow: allow }, body: "" };
    const operation = methods.get(request.method === "HEAD" ? "GET" : request.method);
    if (operation === undefined) {
      return problemAnswer({ kind: "unsupported", message: `expected ${allow}` }, 405, { Allow: allow });
    }
    const long = longOf(operation);
    if (this.#running.size >= MAX_RUNNING || (long !== undefined && this.#long[long] >= MAX_LONG[long])) {
      return problemAnswer({ kind: "overloaded", message: "too many operations are under way; try again soon" });
    }
    return await this.#run(operation, request, long);
  }

  /** Resolves when nothing runs any more, after the mirror's signal has aborted; does not wait for what will not end. */
  async settled(): Promise<void> {
    const { promise: late, resolve } = Promise.withResolvers<void>();
    const cancel = this.#parts.clock.after(ENDING_MS, resolve);
    await Promise.race([Promise.allSettled(this.#running), late]);
    cancel();
  }

  async #run(operation: Operation, request: ApiRequest, long: Long | undefined): Promise<ApiAnswer> {
    const { promise: running, resolve: ended } = Promise.withResolvers<void>();
    const abort = new AbortController();
    const signals = [request.signal, this.#parts.signal];
    const onAbort = () => abort.abort(signals.find(({ aborted }) => aborted)?.reason);
    for (const signal of signals) signal.addEventListener("abort", onAbort, { once: true });
    if (signals.some(({ aborted }) => aborted)) onAbort();
    this.#running.add(running);
    if (long !== undefined) this.#long[long] += 1;
    const end = () => {
      for (const signal of signals) signal.removeEventListener("abort", onAbort);
      if (this.#running.delete(running) && long !== undefined) this.#long[long] -= 1;
      ended();
    };
    let answer: ApiAnswer;
    try {
      answer = await this.#begin(operation, request, abort, end);
    } catch (error) {
      answer = this.#refusal(operation, error);
    }
    // What goes on ends with its stream.
    if (typeof answer.body === "string") end();
    return answer;
  }

  async #begin(operation: Operation, request: ApiRequest, abort: AbortController, end: () => void): Promise<ApiAnswer> {
    const { signal } = abort;
    signal.throwIfAborted();
    const takesStream = operation.answers === "events" && operation.takesStream === true;
    const read = await this.#read(operation, request, takesStream, signal);
    if ("status" in read) return read;
    const call: ApiCall = { signal, body: takesStream ? request.body : undefined };
    const input = read.input as never;
    switch (operation.answers) {
      case "json":
        return jsonAnswer(200, await operation.run(input, call));
      case "stream": {
        const { contentType, lengthBytes, body } = await operation.run(input, call);
        body.once("close", () => {
          abort.abort(gone());
          end();
        });
        const length = lengthBytes === undefined ? {} : { "Content-Length": lengthBytes };
        return { status: 200, headers: { "Content-Type": contentType, ...length }, body };
      }
      case "events": {
        const events = operation.run(input, call)[Symbol.asyncIterator]();
        const first = events.next();
        const failure = await this.#soonFailed(first);
        if (failure !== undefined) return this.#refusal(operation, failure.error);
        const onBug = (error: unknown) => this.#parts.onBug(nameOf(operation), error);
        const lines = linesOf(events, first, { clock: this.#parts.clock, signal, onBug });
        const body = streamOf(lines, () => {
          abort.abort(gone());
          // Whatever it does last counts as running.
          Promise.resolve(events.return?.()).then(end, end);
        });
        return { status: 200, headers: { "Content-Type": "application/x-ndjson" }, body };
      }
    }
  }

  async #read(
    operation: Operation,
    request: ApiRequest,
    takesStream: boolean,
    signal: AbortSignal,
  ): Promise<ApiAnswer | { readonly input: unknown }> {
    const type = request.contentType?.split(";", 1)[0]?.trim().toLowerCase() ?? "";
    let raw: unknown = readQuery(request.query);
    if (takesStream && (type === "" || NO_STREAM.test(type))) {
      return problemAnswer({ kind: "invalid", message: "expected a body of a type such as application/x-tar" }, 415);
    }
    if (!takesStream && (operation.method === "POST" || operation.method === "PUT")) {
      const wrongType = { kind: "invalid", message: "expected a body of type application/json" } as const;
      if (type !== "application/json" && type !== "") return problemAnswer(wrongType, 415);
      const { maxBodyBytes: maxBytes } = operation;
      const text = await readAtMost(request.body, { clock: this.#parts.clock, signal, maxBytes });
      if (text === undefined) return problemAnswer({ kind: "invalid", message: "the body is too large" }, 413);
      // No body is one without members.
      if (type === "" && text !== "") return problemAnswer(wrongType, 415);
      try {
        raw = text.trim() === "" ? {} : JSON.parse(text);
      } catch (error) {
        return problemAnswer({ kind: "invalid", message: `the body is no JSON: ${messageOf(error)}` });
      }
    }
    const parsed = (operation.input as z.ZodType).safeParse(raw);
    return parsed.success ? { input: parsed.data } : problemAnswer(faultsOf(parsed.error));
  }

  /** How it failed, where it does so at once. */
  async #soonFailed(first: Promise<unknown>): Promise<{ readonly error: unknown } | undefined> {
    const { promise: soon, resolve } = Promise.withResolvers<undefined>();
    const cancel = this.#parts.clock.after(HEAD_PATIENCE_MS, () => resolve(undefined));
    const failed = first.then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    try {
      return await Promise.race([failed, soon]);
    } finally {
      cancel();
    }
  }

  #refusal(operation: Operation, error: unknown): ApiAnswer {
    const problem = problemOf(error);
    if (problem.kind !== "bug") return problemAnswer(problem);
    this.#parts.onBug(nameOf(operation), error);
    return { ...problemAnswer(problem), bug: error };
  }
}

function longOf(operation: Operation): Long | undefined {
  if (operation.answers === "json") return undefined;
  if (operation.answers === "stream") return "download";
  return operation.takesStream === true ? "upload" : "events";
}

function nameOf({ method, path }: Operation): string {
  return `${method} ${path}`;
}

function gone(): Failure {
  return new Failure("overloaded", "whoever asked has left");
}

const MAX_FAULTS = 20;

function faultsOf(error: z.ZodError): Problem {
  const faults = error.issues.map(({ path, message }) => ({ path: path.join("."), message }));
  const told = faults.slice(0, MAX_FAULTS);
  const texts = told.map(({ path, message }) => (path === "" ? message : `${path}: ${message}`));
  const more = faults.length > told.length ? [`and ${faults.length - told.length} more`] : [];
  return { kind: "invalid", message: [...texts, ...more].join("; "), faults: told };
}
