/**
 * What a run is told: which server, which images, how they are pulled and for how long. Checked by whoever asks; all
 * numbers are positive and carry their unit.
 */

export type Scenario = "herd" | "warm" | "mixed" | "manifests" | "ranges" | "slow";
export type ClientKind = "dockerd" | "containerd" | "podman";

export interface LoadOptions {
  /** Origin of the API, and a path where the server is not at the root. */
  readonly url: URL;
  /** As Docker writes them; at least one. */
  readonly references: readonly string[];
  readonly scenario: Scenario;
  readonly as: ClientKind;
  readonly clients: number;
  /** Undefined: until all is done (`herd` alone). */
  readonly durationMs: number | undefined;
  /** Requests that one client has running at once for layers or chunks; undefined = what the named client does. */
  readonly concurrency: number | undefined;
  readonly platform: string;
  /** Put before the repository by podman instead of the registry's name; undefined = the name. */
  readonly prefix: string | undefined;
  readonly chunkBytes: number;
  /** What one slow reader takes. */
  readonly bytesPerSecond: number;
  readonly zipfExponent: number;
  readonly seed: number;
  /** How `manifests` asks; undefined = as the named client resolves a tag. */
  readonly manifestMethod: "GET" | "HEAD" | undefined;
  /** False: blobs are counted and not hashed. Manifests are always verified. */
  readonly verify: boolean;
  readonly login: { readonly username: string; readonly password: string } | undefined;
  /** A token server that may have the password although it is of another site. */
  readonly tokenRealm: string | null;
  readonly tls: { readonly ca: string | undefined; readonly insecure: boolean };
  /** How long a request may go without a byte of its answer. */
  readonly timeoutMs: number;
  /** Ours, for `User-Agent` and the report. */
  readonly version: string;
}

/** Requests for layers that the clients have running at once by default. */
export const LAYERS_AT_ONCE: Readonly<Record<ClientKind, number>> = { dockerd: 3, containerd: 3, podman: 6 };
/** Range requests of one layer that `ranges` has running at once by default. */
export const CHUNKS_AT_ONCE = 4;

/** Reports never name the password. */
export function describeOptions(options: LoadOptions): Readonly<Record<string, unknown>> {
  const { url, login, tls, durationMs, version: _, ...rest } = options;
  return {
    url: `${url.origin}${url.pathname}`,
    ...rest,
    durationMs: durationMs ?? null,
    concurrency: options.concurrency ?? null,
    prefix: options.prefix ?? null,
    manifestMethod: options.manifestMethod ?? null,
    login: login?.username ?? null,
    tls: { insecure: tls.insecure, ca: tls.ca !== undefined },
  };
}
