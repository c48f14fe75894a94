/**
 * The port to whoever holds our credentials for one account: a value, a file, a helper program, a cloud.
 *
 * What is held may change while we run (rotated files, tokens of hours), so it is asked for with every request; an
 * implementation answers from memory, renews early, and asks its origin once however many wait. No secret of it ever stands
 * in a message, a notice, or the account's name.
 */

/** What a registry or its token server is shown. */
export type Held =
  /** For `Authorization: Basic` at the registry, or at its token server. */
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** Sent to the registry as `Authorization: Bearer`, as it is. */
  | { readonly kind: "bearer"; readonly token: string }
  /** An OAuth 2 refresh token, which the token server exchanges (`POST`, `grant_type=refresh_token`). */
  | { readonly kind: "identity"; readonly token: string };

/** For sources that have to ask the registry itself. */
export interface Asking {
  readonly signal: AbortSignal;
  /** Where the registry's API is. */
  readonly endpoint: URL;
  /**
   * Posts a form to the registry's own site, by its connections and its rules for addresses; the body of a 200.
   * @param signal governs it in the place of the asking's own: what is obtained is for all who wait.
   * @throws Failure
   */
  readonly post: (url: URL, form: URLSearchParams, signal?: AbortSignal) => Promise<Buffer>;
}

export interface CredentialSource {
  /** The name under which limits are counted and messages speak of it: `robot`, `ecr:eu-west-1`; never a secret. */
  readonly account: string;
  /** Undefined is anonymous. @throws Failure `refused`, `unreachable`, `invalid`; or the signal's reason. */
  hold(asking: Asking): Promise<Held | undefined>;
  /** The upstream refused it: whatever is remembered is not shown again without having been asked for anew. */
  refused(held: Held): void;
  /** Ends what runs: programs, questions to a cloud. What is asked for afterwards fails. */
  close?(): Promise<void>;
}

/** Nothing is held. */
export const ANONYMOUS: CredentialSource = {
  account: "anonymous",
  hold: async () => undefined,
  refused: () => {},
};
