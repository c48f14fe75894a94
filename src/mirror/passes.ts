/**
 * How many ranges pass from an upstream to clients at once, unstored: each holds a connection for as long as its client
 * reads, so they are few.
 */
import type { Digest } from "../oci/digest.ts";
import type { Absence } from "../upstream/upstream.ts";
import type { Route } from "./route.ts";

/** Gives the leave back. May be called more than once. */
export type EndPass = () => void;

export interface Passes {
  /** Undefined where too many pass already. */
  take(route: Route): Promise<EndPass | undefined>;
  /**
   * Before a whole blob passes. Where another process keeps the upstream's account, it asks first, so that nothing is sent
   * while that has to wait.
   * @throws Failure where it has to.
   */
  admit(route: Route, digest: Digest): Promise<Absence | undefined>;
}

export class LocalPasses implements Passes {
  readonly #running = new Map<string, number>();

  async take(route: Route): Promise<EndPass | undefined> {
    return this.takeNow(route);
  }

  /** What asks is what keeps the account. */
  async admit(): Promise<undefined> {}

  takeNow(route: Route): EndPass | undefined {
    const running = this.#running.get(route.upstream) ?? 0;
    if (running >= route.source.maxPasses) return undefined;
    this.#running.set(route.upstream, running + 1);
    let held = true;
    return () => {
      if (held) this.#running.set(route.upstream, (this.#running.get(route.upstream) ?? 1) - 1);
      held = false;
    };
  }
}
