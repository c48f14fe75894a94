/**
 * One thing that can be asked of the admin API: what it takes, what it answers, and what does it.
 *
 * The command line asks the same operations, over HTTP where a mirror runs and in its own process where none does
 * (`cli/desk.ts`), so a command is written once. The OpenAPI document is made of these.
 */
import type { Readable } from "node:stream";
import type * as z from "zod";

/** A line of a long answer (`application/x-ndjson`). The last one is `done`, with the result, or `failed`. */
export type ApiEvent =
  | { readonly event: "done"; readonly result: object }
  | { readonly event: "failed"; readonly kind: string; readonly message: string }
  | ({ readonly event: string } & Readonly<Record<string, unknown>>);

export interface ApiCall {
  /** Aborts when whoever asked has left, and when the mirror stops. */
  readonly signal: AbortSignal;
  /** The request's body, of operations that take a stream. Whoever does not read it to its end destroys it. */
  readonly body: Readable | undefined;
}

/** A body of a known type, such as a bundle; its length is announced where it is known. */
export interface ApiStream {
  readonly contentType: string;
  readonly lengthBytes: number | undefined;
  readonly body: Readable;
}

interface Common<Input> {
  readonly path: `/api/v1/${string}`;
  /** One sentence, for the OpenAPI document. */
  readonly summary: string;
  /**
   * GET and DELETE: of the query, where all is text, and a list where a name is given more than once (`query.ts` has
   * kinds of values for that); else of the JSON body. With a streamed body: of the query.
   */
  readonly input: z.ZodType<Input>;
  /** Of a JSON body; 4 MiB where nothing is said. */
  readonly maxBodyBytes?: number;
}

export interface JsonOperation<Input = never> extends Common<Input> {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly answers: "json";
  /** What it answers, for the OpenAPI document. */
  readonly output: z.ZodType<object>;
  run(input: Input, call: ApiCall): Promise<object> | object;
}

/** Long work: tells how it goes, and ends when whoever asked leaves. */
export interface EventOperation<Input = never> extends Common<Input> {
  readonly method: "POST";
  readonly answers: "events";
  /** What each event but `failed` carries, by its name; for the OpenAPI document. */
  readonly tells?: Readonly<Record<string, z.ZodType<object>>>;
  /** True where the request's body is a stream and no JSON. */
  readonly takesStream?: boolean;
  run(input: Input, call: ApiCall): AsyncIterable<ApiEvent>;
}

export interface StreamOperation<Input = never> extends Common<Input> {
  readonly method: "POST";
  readonly answers: "stream";
  /** Types it may answer with, for the OpenAPI document. */
  readonly contentTypes?: readonly string[];
  run(input: Input, call: ApiCall): Promise<ApiStream>;
}

export type Operation = JsonOperation | EventOperation | StreamOperation;

/** Keeps the input's type between schema and `run`, and forgets it towards whoever lists operations. */
export function jsonOperation<Input>(operation: JsonOperation<Input>): Operation {
  return operation as unknown as Operation;
}

export function eventOperation<Input>(operation: EventOperation<Input>): Operation {
  return operation as unknown as Operation;
}

export function streamOperation<Input>(operation: StreamOperation<Input>): Operation {
  return operation as unknown as Operation;
}
