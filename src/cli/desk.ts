/**
 * Where a command asks operations of the admin API: a running mirror, by HTTP, or the store itself, where none runs.
 */
import type { Readable } from "node:stream";
import type { ApiEvent, ApiStream } from "../api/operation.ts";

export interface Desk {
  /** True where a running mirror answers; false where this process holds the store. */
  readonly remote: boolean;
  /** @throws Failure, as the operation threw it. */
  call(method: "GET" | "POST" | "PUT" | "DELETE", path: string, input?: object): Promise<object>;
  /** Long work, as it tells how it goes; leaving the loop early ends it. @throws Failure where the last event is `failed`. */
  events(path: string, input: object, options?: { body?: Readable; signal?: AbortSignal }): AsyncIterable<ApiEvent>;
  /** Whoever gets it reads or destroys its body. */
  stream(path: string, input: object, signal?: AbortSignal): Promise<ApiStream>;
  close(): Promise<void>;
}
