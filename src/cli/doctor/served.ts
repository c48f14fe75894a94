/**
 * Which registries the mirror has, as it says itself to `GET /v2/?ns=<registry>`; each is asked for once.
 */
import { canonicalRegistryName } from "../../config/registry-name.ts";

export class Served {
  readonly #ask: (registry: string) => Promise<boolean | undefined>;
  readonly #known = new Map<string, boolean>();
  readonly #wanted = new Set<string>();

  /** @param ask undefined where no answer tells it. */
  constructor(ask: (registry: string) => Promise<boolean | undefined>) {
    this.#ask = ask;
  }

  /** Undefined where nobody knows, which is noted to be asked. */
  has(registry: string): boolean | undefined {
    const name = canonicalRegistryName(registry);
    if (!this.#known.has(name)) this.#wanted.add(name);
    return this.#known.get(name);
  }

  /** Asks for all that was wanted. */
  async learn(): Promise<void> {
    for (const name of this.#wanted) {
      const answer = await this.#ask(name);
      if (answer !== undefined) this.#known.set(name, answer);
    }
    this.#wanted.clear();
  }
}
