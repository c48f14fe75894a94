/**
 * What must not leave in a text of the upstream's: our passwords and tokens, and every `Authorization` and form that was
 * sent, in each of the forms in which it may be quoted (`secretforms.ts`).
 *
 * A registry that fails may quote the request in its error, and clients read that error. Only the upstream's words are
 * searched: in words of ours a gap would tell a password that is a common word. In the upstream's it would as well, so a text
 * that holds such a one is left out whole.
 */
import { LRUCache } from "lru-cache";
import type { Held } from "../credentials/credential.ts";
import { formsOf, MAX_FORM, pairForms } from "./secretforms.ts";

/** As many as there are tokens in use. */
const MAX_SENT = 1000;
/** Credentials that were held of late. */
const MAX_HELD = 100;
/** What is shown of a text is shorter by far. */
const MAX_SEARCHED = 4 * 1024;
/** What is this long stands in a URL because it was put there, and not because it is a word. */
const MIN_IN_URL = 16;
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

interface Hidden {
  readonly forms: readonly string[];
  /** A gap in its place would tell it. */
  readonly isWord: boolean;
}

export class Secrets {
  /** Apart from what was sent: no number of tokens pushes out a password. */
  readonly #held = new LRUCache<string, Hidden>({ max: MAX_HELD });
  readonly #sent = new LRUCache<string, Hidden>({ max: MAX_SENT });

  /** Remembers what is about to be shown to the upstream; of the last hundred. */
  noteHeld(held: Held): void {
    const secret = held.kind === "basic" ? held.password : held.token;
    const key = held.kind === "basic" ? `${held.username}\n${secret}` : secret;
    if (this.#held.get(key) !== undefined) return;
    const pair = held.kind === "basic" ? pairForms(`${held.username}:${secret}`) : [];
    this.#held.set(key, { forms: [...formsOf(secret), ...pair], isWord: isWord(secret) });
  }

  /** Remembers the secrets of a form. */
  noteForm(form: URLSearchParams): void {
    for (const field of SECRET_FIELDS) for (const value of form.getAll(field)) this.#noteSent(value);
  }

  /** Remembers the secret of an `Authorization` header; of the last thousand. */
  note(authorization: string): void {
    this.#noteSent(authorization.slice(authorization.indexOf(" ") + 1));
  }

  /** The upstream's text, or its beginning, with `…` in the place of each secret; nothing where that would tell it. */
  hide(text: string): string {
    const searched = text.slice(0, MAX_SEARCHED);
    const found: string[] = [];
    for (const { forms, isWord } of [...this.#held.values(), ...this.#sent.values()]) {
      for (const form of forms) {
        if (!searched.includes(form)) continue;
        if (isWord) return "";
        found.push(form);
      }
    }
    const hidden = withoutAll(searched, found);
    // Where it was cut half a secret may stand.
    const isWhole = text.length <= MAX_SEARCHED || hidden.endsWith("…");
    return isWhole ? hidden : hidden.slice(0, Math.max(0, hidden.length - MAX_FORM));
  }

  /** A URL of the upstream's: a host or path that holds an ordinary word of ours stays readable. */
  hideInUrl(url: string): string {
    const forms = [...this.#held.values(), ...this.#sent.values()].flatMap((one) => one.forms);
    return withoutAll(
      url,
      forms.filter((form) => form.length >= MIN_IN_URL && url.includes(form)),
    );
  }

  #noteSent(secret: string): void {
    if (secret === "" || this.#sent.get(secret) !== undefined) return;
    this.#sent.set(secret, { forms: formsOf(secret), isWord: isWord(secret) });
  }
}

/** The longer first: a secret may be a part of another. */
function withoutAll(text: string, found: readonly string[]): string {
  return found
    .toSorted((left, right) => right.length - left.length)
    .reduce((hidden, form) => {
      if (form.length < MAX_FORM) return hidden.replaceAll(form, () => "…");
      // Its beginning is all that is known of it: the rest of it may follow.
      const at = hidden.indexOf(form);
      return at < 0 ? hidden : `${hidden.slice(0, at)}…`;
    }, text);
}

/** Short, or letters alone. */
function isWord(secret: string): boolean {
  return secret.length < 4 || (secret.length < MIN_IN_URL && /^\p{L}+$/u.test(secret));
}
