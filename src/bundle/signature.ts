/**
 * Signatures of a bundle's contents: Ed25519 (RFC 8032) over the bytes of `contents.ndjson`, 64 raw bytes in a file of
 * their own, as `openssl pkeyutl -verify -rawin` takes them.
 */
import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";
import { promisify } from "node:util";
import { Failure } from "../base/failure.ts";
import { CONTENTS_FILE } from "./contents.ts";

export const SIGNATURE_FILE = `${CONTENTS_FILE}.sig`;
export const SIGNATURE_BYTES = 64;

const signAsync = promisify(sign);
const verifyAsync = promisify(verify);

/** @throws Failure `invalid` where the text is no private Ed25519 key in PEM form. */
export function parsePrivateKey(pem: string): KeyObject {
  return parseKey(pem, "private", createPrivateKey);
}

/** @throws Failure `invalid` where the text is no public Ed25519 key in PEM form. */
export function parsePublicKey(pem: string): KeyObject {
  // A private key has a public one in it; whoever hands that around has mixed up the files.
  if (pem.includes("PRIVATE KEY")) throw new Failure("invalid", "this is a private key: expected the public one");
  return parseKey(pem, "public", createPublicKey);
}

export async function signContents(contents: Buffer, key: KeyObject): Promise<Buffer> {
  return await signAsync(undefined, contents, key);
}

/** @throws Failure `denied` where there is no signature, or it is not by this key. */
export async function checkSignature(contents: Buffer, signature: Buffer | undefined, key: KeyObject): Promise<void> {
  if (signature === undefined) throw new Failure("denied", "the bundle is not signed");
  if (signature.length === SIGNATURE_BYTES && (await verifyAsync(undefined, contents, key, signature))) return;
  throw new Failure("denied", "the bundle's signature is not by this key, or its contents were changed");
}

function parseKey(pem: string, kind: string, parse: (pem: string) => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = parse(pem);
  } catch (cause) {
    throw new Failure("invalid", `expected a ${kind} key in PEM form, without a passphrase`, { cause });
  }
  if (key.asymmetricKeyType === "ed25519") return key;
  throw new Failure("invalid", `expected an Ed25519 key, this is ${key.asymmetricKeyType ?? "another kind"}`);
}
