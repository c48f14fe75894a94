/**
 * A TCP connection to the first of several addresses that answers (RFC 8305, "happy eyeballs").
 *
 * Families take turns, beginning with the first address; within a family the order is the resolver's. Another attempt
 * begins when the one before has failed, or has not answered in a quarter of a second; the earlier ones go on meanwhile.
 * All but the one that is handed out are closed.
 */
import { isIPv6, type Socket } from "node:net";
import type { Clock } from "../../base/clock.ts";

/** RFC 8305 §5, "Connection Attempt Delay". */
export const ATTEMPT_DELAY_MS = 250;
const MAX_ATTEMPTS = 16;

export interface Place {
  readonly address: string;
  readonly port: number;
}

/**
 * Rejects when no attempt is left open: with the failure, several as an `AggregateError`, or with the signal's reason.
 * @param begin makes a socket that connects, as `net.connect` does.
 */
export function connectFirst(
  places: readonly Place[],
  clock: Clock,
  signal: AbortSignal,
  begin: (place: Place) => Socket,
): Promise<Socket> {
  const waiting = inTurns(places).slice(0, MAX_ATTEMPTS);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  const running = new Set<Socket>();
  const failures: Error[] = [];
  let over = false;
  let cancelTimer = () => {};

  const end = () => {
    over = true;
    cancelTimer();
    signal.removeEventListener("abort", onAbort);
  };
  const lose = () => {
    if (signal.aborted) reject(signal.reason);
    else reject(failures.length === 1 ? failures[0] : new AggregateError(failures, "no address answers"));
  };
  const onAbort = () => {
    end();
    for (const socket of running) socket.destroy();
    if (running.size === 0) lose();
  };
  const next = () => {
    cancelTimer();
    const place = waiting.shift();
    if (place === undefined) return;
    const socket = begin(place);
    running.add(socket);
    // Stays for good: between two owners nobody else would listen.
    socket.on("error", (error) => failures.push(error));
    socket.once("connect", () => {
      if (over) return;
      end();
      running.delete(socket);
      for (const other of running) other.destroy();
      resolve(socket);
    });
    socket.once("close", () => {
      if (!running.delete(socket)) return;
      if (!over && waiting.length > 0) next();
      else if (running.size === 0 && (!over || signal.aborted)) {
        end();
        lose();
      }
    });
    if (waiting.length > 0) cancelTimer = clock.after(ATTEMPT_DELAY_MS, next);
  };

  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  else next();
  return promise;
}

/** RFC 8305 §4: a family that is out of order costs one attempt, not all of its addresses. */
function inTurns(places: readonly Place[]): Place[] {
  const first = places[0];
  if (first === undefined) return [];
  const of = (v6: boolean) => places.filter(({ address }) => isIPv6(address) === v6);
  const leading = of(isIPv6(first.address));
  const others = of(!isIPv6(first.address));
  return Array.from({ length: Math.max(leading.length, others.length) }, (_, at) => [leading[at], others[at]])
    .flat()
    .filter((place) => place !== undefined);
}
