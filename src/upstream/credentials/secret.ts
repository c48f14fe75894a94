/**
 * User and password, or a token, whose secret stands in the configuration, a file or a variable.
 *
 * Of a file the line ends at its end are no part, for editors leave them there.
 */

import { Failure } from "../../base/failure.ts";
import type { SecretSource } from "../../config/credential.ts";
import { accountName } from "./account.ts";
import type { CredentialSource, Held } from "./credential.ts";
import type { CredentialSurroundings } from "./surroundings.ts";
import { WatchedFile } from "./watched.ts";

const MAX_BYTES = 64 * 1024;

/** The present value of a secret. */
export interface OpenSecret<T> {
  /** The same one as long as the secret is the same. */
  value(): Promise<T>;
  lookAgain(): void;
}

/**
 * @param read makes of the secret what is held. @throws Failure `invalid`, whose message goes behind the name of its place.
 * @throws Failure `invalid` where the secret cannot be had, is empty, or `read` says so
 */
export async function openSecret<T>(
  source: SecretSource,
  read: (secret: string) => T,
  { clock, env, name, onTrouble }: CredentialSurroundings,
): Promise<OpenSecret<T>> {
  if (source.from === "file") {
    return await WatchedFile.open(source.file, {
      clock,
      maxBytes: MAX_BYTES,
      parse: (bytes) => {
        const secret = bytes.toString("utf8").replace(/[\r\n]+$/, "");
        if (secret === "") throw new Failure("invalid", "which should hold a secret, is empty");
        return read(secret);
      },
      onTrouble: (message) => onTrouble(`${name}: ${message}`),
    });
  }
  const text = source.from === "value" ? source.value : (env[source.variable] ?? "");
  const place =
    source.from === "value" ? "a secret of the configuration" : `the environment variable ${source.variable}`;
  if (text === "") throw new Failure("invalid", `${place}, which should hold a secret, is not set`);
  const value = readAs(place, text, read);
  return { value: async () => value, lookAgain: () => {} };
}

function readAs<T>(place: string, text: string, read: (secret: string) => T): T {
  try {
    return read(text);
  } catch (error) {
    throw error instanceof Failure ? new Failure("invalid", `${place} ${error.message}`) : error;
  }
}

/** A token as it may stand in a header. @throws Failure `invalid` */
export function requireToken(token: string): string {
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  throw new Failure("invalid", "holds a space, a line end or another character that a token cannot have");
}

class SecretCredential implements CredentialSource {
  readonly account: string;
  readonly #secret: OpenSecret<Held>;

  constructor(account: string, secret: OpenSecret<Held>) {
    this.account = account;
    this.#secret = secret;
  }

  hold(): Promise<Held> {
    return this.#secret.value();
  }

  refused(): void {
    this.#secret.lookAgain();
  }
}

/** @throws Failure `invalid` */
export async function openBasic(
  username: string,
  source: SecretSource,
  surroundings: CredentialSurroundings,
): Promise<CredentialSource> {
  const read = (password: string): Held => ({ kind: "basic", username, password });
  return new SecretCredential(accountName(username), await openSecret(source, read, surroundings));
}

/** @throws Failure `invalid` */
export async function openToken(source: SecretSource, surroundings: CredentialSurroundings): Promise<CredentialSource> {
  const read = (token: string): Held => ({ kind: "bearer", token: requireToken(token) });
  return new SecretCredential("token", await openSecret(source, read, surroundings));
}
