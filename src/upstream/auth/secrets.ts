/**
 * What must not leave in a text of the upstream's: our passwords and tokens, and every `Authorization` and form that was
 * sent.
 *
 * A registry that fails may quote the request in its error, and clients read that error. Only the upstream's words are
 * searched: in words of ours a gap would tell a password that is a common word.
 */
import { LRUCache } from "lru-cache";
import type { Held } from "../credentials/credential.ts";

/** As many as there are tokens in use. */
const MAX_SENT = 1000;
/** Credentials that were held of late; each is a few texts. */
const MAX_HELD = 100;
/** Fields of an OAuth 2 form that are secret. */
const SECRET_FIELDS = [
  "access_token",
  "assertion",
  "client_assertion",
  "client_secret",
  "id_token",
  "password",
  "refresh_token",
];

export class Secrets {
  /** Apart from what was sent: no number of tokens pushes out a password. */
  readonly #held = new LRUCache<string, readonly string[]>({ max: MAX_HELD });
  readonly #sent = new LRUCache<string, true>({ max: MAX_SENT });

  /** Remembers what is about to be shown to the upstream; of the last hundred. */
  noteHeld(held: Held): void {
    const texts = textsOf(held);
    const key = texts.join("\n");
    if (this.#held.get(key) === undefined) this.#held.set(key, texts);
  }

  /** Remembers the secrets of a form. */
  noteForm(form: URLSearchParams): void {
    for (const field of SECRET_FIELDS) {
      for (const value of form.getAll(field)) this.#sent.set(value, true);
    }
  }

  /** Remembers the secret of an `Authorization` header; of the last thousand. */
  note(authorization: string): void {
    this.#sent.set(authorization.slice(authorization.indexOf(" ") + 1), true);
  }

  /** The upstream's text with `…` in the place of each secret. */
  hide(text: string): string {
    const found = [...[...this.#held.values()].flat(), ...this.#sent.keys()].filter(
      (secret) => secret !== "" && text.includes(secret),
    );
    // The longer first: a secret may be a part of another.
    return found
      .toSorted((left, right) => right.length - left.length)
      .reduce((hidden, secret) => hidden.replaceAll(secret, () => "…"), text);
  }
}

/** The forms in which it may come back. */
function textsOf(held: Held): readonly string[] {
  if (held.kind !== "basic") return [held.token];
  const { username, password } = held;
  const pair = Buffer.from(`${username}:${password}`, "utf8").toString("base64");
  return [password, encodeURIComponent(password), pair];
}
