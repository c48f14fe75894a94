/**
 * Facts emitted for observers. Whoever does the work says what happened, once; logs and metrics subscribe.
 *
 * Delivery is synchronous and an observer must not throw. With no observer an emission costs one empty loop.
 */

export class Notices<Kinds extends object> {
  readonly #observers = new Map<keyof Kinds, readonly ((fact: never) => void)[]>();

  /** @returns the function that ends the subscription. */
  on<K extends keyof Kinds>(kind: K, observer: (fact: Kinds[K]) => void): () => void {
    // Lists are replaced, never changed: an emission may be going through one.
    this.#observers.set(kind, [...(this.#observers.get(kind) ?? []), observer]);
    return () => {
      const list = this.#observers.get(kind) ?? [];
      const at = list.indexOf(observer);
      if (at >= 0) this.#observers.set(kind, list.toSpliced(at, 1));
    };
  }

  emit<K extends keyof Kinds>(kind: K, fact: Kinds[K]): void {
    const list = this.#observers.get(kind);
    if (list === undefined) return;
    for (const observer of list) (observer as (fact: Kinds[K]) => void)(fact);
  }
}

/** The half of `Notices` that is handed to whoever does the work. */
export interface Emitter<Kinds extends object> {
  emit<K extends keyof Kinds>(kind: K, fact: Kinds[K]): void;
}
