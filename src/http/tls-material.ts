/**
 * Certificates and private keys, read from their files and tried out: what is wrong with them is told by file, at start
 * or reload, and never at a client's connection.
 */
import { constants, createPrivateKey, hkdfSync, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createSecureContext, type SecureContext, type SecureContextOptions } from "node:tls";
import { Failure, messageOf } from "../base/failure.ts";

export interface TlsSettings {
  /** The first one is for clients that name no host, or one that no certificate has. Never empty. */
  readonly certificates: readonly CertificateFiles[];
  /** PEM file of the authorities of client certificates; undefined where none are asked for. */
  readonly clientCa: string | undefined;
  readonly clientAuth: "optional" | "required";
  /** What session tickets are sealed with: random, the same in every process that answers on this address. */
  readonly ticketSecret: string;
}

/** Paths of PEM files. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** What the files held at one moment; equal texts make equal material. */
export interface TlsTexts {
  readonly pairs: readonly { readonly files: CertificateFiles; readonly cert: string; readonly key: string }[];
  readonly clientCa: string | undefined;
}

export interface Material {
  readonly files: CertificateFiles;
  readonly leaf: X509Certificate;
  readonly options: SecureContextOptions;
  readonly context: SecureContext;
}

/** How long a client may come back without a full handshake. A client certificate is not checked again meanwhile. */
export const SESSION_SECONDS = 300;

/** @throws Failure `invalid`: a file that cannot be read; the message names it. */
export async function readTexts(settings: TlsSettings): Promise<TlsTexts> {
  const pairs = settings.certificates.map(async (files) => ({
    files,
    cert: await readPem(files.cert),
    key: await readPem(files.key),
  }));
  const clientCa = settings.clientCa === undefined ? undefined : await readPem(settings.clientCa);
  return { pairs: await Promise.all(pairs), clientCa };
}

export function isSameTexts(left: TlsTexts, right: TlsTexts): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

/** @throws Failure `invalid`: not PEM, a key that is encrypted or another certificate's; the message names the file. */
export function makeMaterial(texts: TlsTexts, settings: TlsSettings): readonly Material[] {
  const { clientCa } = texts;
  if (clientCa !== undefined) {
    attempt(`${settings.clientCa} is no certificate in PEM`, () => new X509Certificate(clientCa));
  }
  const ticketKeys = makeTicketKeys(texts, settings);
  return texts.pairs.map(({ files, cert, key }) => {
    const leaf = attempt(`${files.cert} is no certificate in PEM`, () => new X509Certificate(cert));
    const secret = attempt(`${files.key} is no private key in PEM, or is encrypted`, () => createPrivateKey(key));
    if (!leaf.checkPrivateKey(secret)) {
      throw new Failure("invalid", `tls: the key in ${files.key} does not belong to the certificate in ${files.cert}`);
    }
    const options: SecureContextOptions = {
      cert,
      key,
      ...(clientCa === undefined ? {} : { ca: clientCa }),
      minVersion: "TLSv1.2",
      sessionTimeout: SESSION_SECONDS,
      ticketKeys,
      // A client that starts the handshake anew has us do the dear part of it, again and again; TLS 1.3 has no such thing.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    };
    const unfit = `${files.cert} and ${files.key} cannot be used`;
    return { files, leaf, options, context: attempt(unfit, () => createSecureContext(options)) };
  });
}

const TICKET_KEY_BYTES = 48;

/** Others as soon as one certificate is another: what a session was checked against may hold no longer. */
function makeTicketKeys(texts: TlsTexts, { ticketSecret }: TlsSettings): Buffer {
  return Buffer.from(hkdfSync("sha512", ticketSecret, JSON.stringify(texts), "session tickets", TICKET_KEY_BYTES));
}

/**
 * The certificate for a server name: one that has this very name before one with a wildcard; undefined where no
 * certificate is for it.
 */
export function findMaterial(materials: readonly Material[], serverName: string): Material | undefined {
  const named = (wildcards: boolean) =>
    materials.find(({ leaf }) => leaf.checkHost(serverName, { wildcards, partialWildcards: false }) !== undefined);
  return named(false) ?? named(true);
}

/** What is odd about a certificate's dates; undefined where nothing is. Clients will complain: we serve all the same. */
export function oddityOf({ files, leaf }: Material, now: number): string | undefined {
  if (now > leaf.validToDate.getTime()) return `the certificate in ${files.cert} expired on ${leaf.validTo}`;
  if (now < leaf.validFromDate.getTime()) return `the certificate in ${files.cert} is valid from ${leaf.validFrom} on`;
  return undefined;
}

async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (cause) {
    throw new Failure("invalid", `tls: cannot read ${file}: ${messageOf(cause)}`, { cause });
  }
}

function attempt<Value>(complaint: string, make: () => Value): Value {
  try {
    return make();
  } catch (cause) {
    throw new Failure("invalid", `tls: ${complaint}`, { cause });
  }
}
