/**
 * TLS to one upstream and to wherever it redirects: what is trusted, and whom our certificate is shown to.
 *
 * A custom authority is trusted besides the known ones and everywhere; our client certificate and the waived verification
 * belong to the upstream's own hosts only. Files that were replaced are taken for new connections; while they cannot be
 * used, as one half of a pair, what was read before stays.
 */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure, messageOf } from "../../base/failure.ts";
import type { UpstreamOptions } from "../options.ts";
import type { Trust } from "../wire/secure.ts";
import { bare } from "./addresses.ts";

const RECHECK_MS = 5000;

type Files = UpstreamOptions["tls"];
type Texts = Partial<Record<"ca" | "cert" | "key", string>>;

export class TlsTrust {
  readonly #setting: string;
  readonly #files: Files;
  readonly #clock: Clock;
  readonly #onTrouble: (message: string) => void;
  readonly #ownHosts: ReadonlySet<string>;
  #texts: Texts;
  #checkedAt: number;
  #trouble: string | undefined;
  /** Made when they are first needed: each holds all known authorities. */
  #contexts: { own?: SecureContext; elsewhere?: SecureContext } = {};

  /**
   * @param onTrouble is told once of replaced files that cannot be used.
   * @throws Failure `invalid` where a file cannot be read, or holds something else than it should.
   */
  constructor(
    name: string,
    endpoints: readonly URL[],
    options: UpstreamOptions,
    clock: Clock,
    onTrouble: (message: string) => void,
  ) {
    this.#setting = `upstreams.${name}.tls`;
    this.#files = options.tls;
    this.#clock = clock;
    this.#onTrouble = onTrouble;
    this.#texts = readTlsFiles(this.#setting, options.tls);
    this.#checkedAt = clock.now();
    const realmHost = options.tokenRealm === null ? undefined : URL.parse(options.tokenRealm)?.hostname;
    const hosts = endpoints.map(({ hostname }) => hostname);
    this.#ownHosts = new Set([...hosts, ...(realmHost === undefined ? [] : [realmHost])].map(bare));
  }

  /** For a new connection to this host. The same object as before where nothing has changed. */
  contextOf(hostname: string): Trust {
    this.#recheck();
    if (!this.#ownHosts.has(bare(hostname))) {
      this.#contexts.elsewhere ??= createSecureContext(trustedBy(this.#texts));
      return { secureContext: this.#contexts.elsewhere, rejectUnauthorized: true };
    }
    const { cert, key } = this.#texts;
    this.#contexts.own ??= createSecureContext({
      ...trustedBy(this.#texts),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
    return { secureContext: this.#contexts.own, rejectUnauthorized: !this.#files.insecureSkipVerify };
  }

  #recheck(): void {
    const now = this.#clock.now();
    if (Math.abs(now - this.#checkedAt) < RECHECK_MS) return;
    this.#checkedAt = now;
    try {
      const texts = readTlsFiles(this.#setting, this.#files);
      this.#trouble = undefined;
      const { ca, cert, key } = this.#texts;
      if (texts.ca === ca && texts.cert === cert && texts.key === key) return;
      this.#texts = texts;
      this.#contexts = {};
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (error.message !== this.#trouble) this.#onTrouble(`${error.message}; what was read before is still used`);
      this.#trouble = error.message;
    }
  }
}

function trustedBy({ ca }: Texts): { ca?: string[] } {
  return ca === undefined ? {} : { ca: [...getCACertificates("default"), ca] };
}

/** The files' contents, tried out now: a connection would tell of a bad one late, and not which it is. */
function readTlsFiles(setting: string, tls: Files): Texts {
  const texts: Texts = {};
  for (const which of ["ca", "cert", "key"] as const) {
    const path = tls[which];
    if (path !== undefined) texts[which] = readPem(`${setting}.${which}`, path);
  }
  const { ca, cert, key } = texts;
  if (ca !== undefined) refuseBad(`${setting}.ca: ${tls.ca} is no certificate in PEM`, () => tryCertificates(ca));
  if (cert !== undefined) {
    refuseBad(`${setting}.cert: ${tls.cert} is no certificate in PEM`, () => tryCertificates(cert));
  }
  if (key !== undefined) {
    const message = `${setting}.key: ${tls.key} is no private key in PEM that can be used with ${tls.cert ?? "it"}`;
    refuseBad(message, () => createSecureContext({ key, ...(cert === undefined ? {} : { cert }) }));
  }
  return texts;
}

/** A bundle holds several; of a damaged one in the middle, OpenSSL would say nothing and leave out the rest. */
function tryCertificates(text: string): void {
  const blocks = text.match(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----[\s\S]*?(?:-----END [A-Z0-9 ]*CERTIFICATE-----|$)/g);
  for (const block of blocks ?? [text]) new X509Certificate(block);
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
