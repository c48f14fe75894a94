/**
 * What a credential needs besides its configuration; all that reaches outside the process is a parameter.
 */
import type { Clock } from "../../base/clock.ts";
import type { Run } from "./run.ts";
import type { LoadSdk } from "./sdk.ts";

export interface CredentialSurroundings {
  /** The upstream's name, for messages and for looking it up in what holds the credentials of several registries. */
  readonly name: string;
  /** Where its API is. */
  readonly endpoint: URL;
  readonly clock: Clock;
  /** For secrets in variables, and for programs that are started. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly run: Run;
  readonly load: LoadSdk;
  /** Something an operator should know that fails no request. No secrets. */
  readonly onTrouble: (message: string) => void;
}
