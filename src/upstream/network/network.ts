/**
 * The world that upstreams are reached in: names, ways out. A parameter, so that a registry can be emulated under its own name.
 */
import type { Resolve } from "./addresses.ts";

export interface Network {
  /** Names to addresses, which are judged then. Default: the system's. */
  readonly resolve?: Resolve;
  /**
   * Where a connection really goes that was judged and may be made to `host`:`port`; undefined means there. `host` is the
   * name or literal address in the URL, without brackets.
   */
  readonly divert?: (host: string, port: number) => { readonly address: string; readonly port: number } | undefined;
  /** Where `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are looked up, in either case. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}
