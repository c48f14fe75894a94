/**
 * A credential that a cloud gives for some time: what is common to all of them.
 */
import { Failure } from "../../base/failure.ts";
import type { Asking, CredentialSource, Held } from "./credential.ts";
import { type Lease, leaseUntil, Renewed } from "./renewed.ts";
import type { CredentialSurroundings } from "./surroundings.ts";

export const CLOUD_TIMEOUT_MS = 20_000;

export interface Given {
  readonly held: Held;
  /** For how long from now it is good. */
  readonly lifeMs: number;
}

export class CloudCredential implements CredentialSource {
  readonly account: string;
  readonly #renewed: Renewed<Held>;
  readonly #onRefused: () => void;
  #last: Held | undefined;

  /** @param onRefused before it is asked for anew */
  constructor(
    account: string,
    { name, clock, onTrouble }: CredentialSurroundings,
    ask: (asking: Asking) => Promise<Given>,
    onRefused: () => void = () => {},
  ) {
    this.account = account;
    this.#onRefused = onRefused;
    this.#renewed = new Renewed({
      clock,
      timeoutMs: CLOUD_TIMEOUT_MS,
      what: `${name}: the cloud that gives the credentials of ${account}`,
      obtain: async (asking): Promise<Lease<Held>> => {
        const { held, lifeMs } = await ask(asking);
        const now = clock.now();
        if (lifeMs > 0) return leaseUntil(held, now, now + lifeMs);
        throw new Failure("unreachable", `${name}: the credentials given for ${account} had already expired`);
      },
      onFailure: ({ message }) => onTrouble(`${message}; the old ones of ${account} stay in use until they expire`),
    });
  }

  async hold(asking: Asking): Promise<Held> {
    this.#last = await this.#renewed.get(asking);
    return this.#last;
  }

  refused(held: Held): void {
    this.#onRefused();
    this.#renewed.forget(held);
  }

  /** What is held was made from something that has changed. */
  outdated(): void {
    if (this.#last !== undefined) this.#renewed.forget(this.#last);
  }

  close(): Promise<void> {
    return this.#renewed.close();
  }
}
