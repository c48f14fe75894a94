/**
 * Which fills run, as fronts are told: looked up anew whenever one begins or ends.
 *
 * One that has failed ends when nothing of it is left. By then another one of the same digest may run, which its end
 * must not hide.
 */
import type { Place } from "../meta/repositories.ts";
import type { Fills } from "../mirror/fills.ts";
import type { Digest } from "../oci/digest.ts";
import type { Entry } from "./messages.ts";
import { placeOf } from "./remote-origin.ts";

export class Fillings {
  readonly #fills: Pick<Fills, "find">;
  readonly #tell: (entry: Entry<Place>) => void;
  readonly #places = new Map<string, Place>();

  constructor(fills: Pick<Fills, "find">, tell: (entry: Entry<Place>) => void) {
    this.#fills = fills;
    this.#tell = tell;
  }

  /** One of this digest has begun or ended. */
  changed(digest: Digest): void {
    const route = this.#fills.find(digest)?.route;
    const place = route === undefined ? undefined : placeOf(route);
    if (place === undefined) this.#places.delete(digest);
    else this.#places.set(digest, place);
    this.#tell({ key: digest, value: place });
  }

  entries(): [string, Place][] {
    return [...this.#places];
  }
}
