/**
 * What one upstream is told by the configuration; whoever holds its credentials is a port.
 *
 * Declared here and not imported from config/, so that this folder knows no other of higher meaning; the configuration's
 * own type fits it structurally.
 */
import type { CredentialSource } from "./credentials/credential.ts";

export interface AccountOptions {
  readonly source: CredentialSource;
  /** Globs over the repositories that it is shown for; `**` alone is everything. */
  readonly repositories: readonly string[];
}

export interface UpstreamOptions {
  /** Where the API is; undefined means what the registry's name says. */
  readonly url?: string | undefined;
  /** More URLs of the same content, asked in this order where `url` does not answer. */
  readonly endpoints?: readonly string[];
  /** May this registry, its token server or its redirects live on loopback, private or link-local addresses? */
  readonly allowPrivate: boolean;
  readonly tls: {
    /** PEM file, trusted besides the well-known authorities. */
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
    readonly insecureSkipVerify: boolean;
  };
  /** None is anonymous. */
  readonly credentials: readonly AccountOptions[];
  /** The token server, where it is neither known nor on the registry's registrable domain. */
  readonly tokenRealm: string | null;
  readonly limits: Limits;
  /** For how long a refusal of our credentials is believed, milliseconds; default 10 s. */
  readonly refusedMs?: number;
  readonly offline: boolean;
  readonly timeouts?: Partial<Timeouts> | undefined;
}

/** What we ask of it at most, by our own will. */
export interface Limits {
  readonly connections: number;
  readonly requestsPerSecond?: number | null | undefined;
  /** Bytes per second. */
  readonly bandwidth?: number | null | undefined;
}

export const DEFAULT_REFUSED_MS = 10_000;

export interface Timeouts {
  /** For a connection, TLS included. */
  readonly connectMs: number;
  /** From the start of a call to the headers of its answer, with redirects and the token dance. */
  readonly headersMs: number;
  /** Between two pieces of a body; a manifest or list must also be whole within it. */
  readonly bodyMs: number;
}

export const DEFAULT_TIMEOUTS: Timeouts = { connectMs: 10_000, headersMs: 20_000, bodyMs: 60_000 };
