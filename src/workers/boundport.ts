/**
 * A TCP address that is bound and not listened on, to be handed to processes that do.
 *
 * They share one queue of connections: who is free takes the next one, what waits survives the death of any of them, and
 * this process has no part in it. Node's own cluster does so too (`SCHED_NONE`); its module is not used, because it knows
 * one set of workers for a whole process, and two listeners on port 0 would be one.
 */
import net from "node:net";
import { errnoOf, Failure } from "../base/failure.ts";

/** Node's `TCP`: what `ChildProcess.send` and `Server.listen` take. */
export interface BoundPort {
  readonly host: string;
  readonly port: number;
  readonly handle: object;
  close(): void;
}

interface TcpHandle {
  close(): void;
  getsockname(into: { address?: string; port?: number }): number;
}

/**
 * @param probe listens on the address and lets go of it: that tells what is wrong with it, in the words of whoever
 * listens. Resolves to the port.
 */
export async function bindPort(
  address: { readonly host: string; readonly port: number },
  probe: () => Promise<{ readonly host: string; readonly port: number }>,
): Promise<BoundPort> {
  const { host, port } = await probe();
  const handle = createHandle(host, port);
  const bound: { address?: string; port?: number } = {};
  const fault = handle.getsockname(bound);
  if (fault !== 0 || bound.port !== port) {
    handle.close();
    throw new Failure("overloaded", `cannot listen on ${address.host}:${port}: the port was taken just now`);
  }
  return { host, port, handle, close: () => handle.close() };
}

function createHandle(host: string, port: number): TcpHandle {
  const create = (net as unknown as { _createServerHandle?: unknown })._createServerHandle;
  if (typeof create !== "function") throw new Failure("overloaded", "this Node cannot share a port: set workers to 1");
  const handle: unknown = create(host, port, host.includes(":") ? 6 : 4, undefined, 0);
  if (isHandle(handle)) return handle;
  throw new Failure("overloaded", `cannot bind ${host}:${port}: error ${errnoOf(handle) ?? String(handle)}`);
}

function isHandle(value: unknown): value is TcpHandle {
  return typeof value === "object" && value !== null && "getsockname" in value && "close" in value;
}
