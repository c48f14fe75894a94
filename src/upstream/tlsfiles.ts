/**
 * TLS to one upstream and to wherever it redirects: what is trusted, and whom our certificate is shown to.
 *
 * A custom authority is trusted besides the known ones and everywhere; our client certificate and the waived verification
 * belong to the upstream's own hosts only.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { Failure, messageOf } from "../base/failure.ts";
import type { UpstreamOptions } from "./options.ts";

/** What `tls.connect` is told for a host. */
export interface TlsSettings {
  readonly ca?: string[];
  readonly cert?: string;
  readonly key?: string;
  readonly rejectUnauthorized?: boolean;
}

export class TlsTrust {
  readonly ownHost: TlsSettings;
  readonly elsewhere: TlsSettings;
  readonly #ownHosts: ReadonlySet<string>;
  readonly #contexts = new Map<TlsSettings, SecureContext>();

  /** @throws Failure `invalid` where a file cannot be read, or holds something else than it should. */
  constructor(name: string, endpoints: readonly URL[], options: UpstreamOptions) {
    const { ca, cert, key } = readTlsFiles(`upstreams.${name}.tls`, options.tls);
    this.elsewhere = ca === undefined ? {} : { ca: [...getCACertificates("default"), ca] };
    this.ownHost = {
      ...this.elsewhere,
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
      ...(options.tls.insecureSkipVerify ? { rejectUnauthorized: false } : {}),
    };
    const realmHost = options.tokenRealm === null ? undefined : URL.parse(options.tokenRealm)?.hostname;
    const hosts = endpoints.map(({ hostname }) => hostname);
    this.#ownHosts = new Set([...hosts, ...(realmHost === undefined ? [] : [realmHost])].map(bare));
  }

  isOwn(hostname: string): boolean {
    return this.#ownHosts.has(bare(hostname));
  }

  /** The same with what takes long to read read once. */
  contextOf(hostname: string): { readonly secureContext: SecureContext; readonly rejectUnauthorized: boolean } {
    const settings = this.isOwn(hostname) ? this.ownHost : this.elsewhere;
    const { rejectUnauthorized = true, ...files } = settings;
    const secureContext = this.#contexts.get(settings) ?? createSecureContext(files);
    this.#contexts.set(settings, secureContext);
    return { secureContext, rejectUnauthorized };
  }
}

/** Without the brackets of an IPv6 address: a URL has them, a socket has not. */
export function bare(hostname: string): string {
  return hostname.replace(/^\[|\]$/g, "");
}

/** The files' contents, tried out now: a connection would tell of a bad one late, and not which it is. */
function readTlsFiles(setting: string, tls: UpstreamOptions["tls"]): { ca?: string; cert?: string; key?: string } {
  const [ca, cert, key] = (["ca", "cert", "key"] as const).map((which) => {
    const path = tls[which];
    return path === undefined ? undefined : readPem(`${setting}.${which}`, path);
  });
  if (ca !== undefined) refuseBad(`${setting}.ca: ${tls.ca} is no certificate in PEM`, () => new X509Certificate(ca));
  if (cert !== undefined) {
    refuseBad(`${setting}.cert: ${tls.cert} is no certificate in PEM`, () => new X509Certificate(cert));
  }
  if (key !== undefined) {
    const message = `${setting}.key: ${tls.key} is no private key in PEM that can be used with ${tls.cert ?? "it"}`;
    refuseBad(message, () => createSecureContext({ key, ...(cert === undefined ? {} : { cert }) }));
  }
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  };
}

function refuseBad(message: string, tryOut: () => unknown): void {
  try {
    tryOut();
  } catch (cause) {
    throw new Failure("invalid", message, { cause });
  }
}

function readPem(setting: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Failure("invalid", `${setting}: cannot read ${path}: ${messageOf(cause)}`, { cause });
  }
}
