/**
 * A credential that never changes.
 */
import type { CredentialSource, Held } from "../../../src/upstream/credentials/credential.ts";

export function fixedCredential(account: string, held: Held): CredentialSource {
  return { account, hold: async () => held, refused: () => {} };
}
