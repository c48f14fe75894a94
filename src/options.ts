/**
 * What a mirror may be told beside its configuration.
 */
import type { Clock } from "./base/clock.ts";
import type { ListenerLimits } from "./http/listener.ts";
import type { Files } from "./store/files.ts";
import type { Network } from "./upstream/network/network.ts";

export interface MirrorOptions {
  /** A clock of one's own is for one process: `workers: auto` is 1 with it, and any number above is refused. */
  readonly clock?: Clock;
  readonly limits?: Partial<ListenerLimits>;
  /** Another world than this machine's to find upstreams in; for one process, as `clock` is. */
  readonly network?: Network;
  /** Of this program, as the admin API tells it. */
  readonly version?: string;
  /** False to leave standard output alone, for a mirror inside another program. */
  readonly log?: boolean;
  /** A disk of one's own, to see what becomes of its failures. */
  readonly files?: Files;
}
