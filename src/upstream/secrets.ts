/**
 * What must not leave in a text of the upstream's: our password or token, and every `Authorization` that was sent.
 *
 * A registry that fails may quote the request in its error, and clients read that error. Only the upstream's words are
 * searched: in words of ours a gap would tell a password that is a common word.
 */
import { LRUCache } from "lru-cache";
import type { Credential } from "./options.ts";

/** As many as there are tokens in use. */
const MAX_SENT = 1000;

export class Secrets {
  readonly #held: readonly string[];
  readonly #sent = new LRUCache<string, true>({ max: MAX_SENT });

  constructor(credential: Credential | undefined) {
    if (credential === undefined) this.#held = [];
    else if ("token" in credential) this.#held = [credential.token];
    else {
      const { username, password } = credential;
      const pair = Buffer.from(`${username}:${password}`, "utf8").toString("base64");
      this.#held = [password, encodeURIComponent(password), pair];
    }
  }

  /** Remembers the secret of an `Authorization` header; of the last thousand. */
  note(authorization: string): void {
    this.#sent.set(authorization.slice(authorization.indexOf(" ") + 1), true);
  }

  /** The upstream's text with `…` in the place of each secret. */
  hide(text: string): string {
    const found = [...this.#held, ...this.#sent.keys()].filter((secret) => secret !== "" && text.includes(secret));
    // The longer first: a secret may be a part of another.
    return found
      .toSorted((left, right) => right.length - left.length)
      .reduce((hidden, secret) => hidden.replaceAll(secret, () => "…"), text);
  }
}
