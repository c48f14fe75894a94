/**
 * What happens in all processes of the mirror, for whoever asks in this one: facts of the fronts are sent here once
 * somebody wants their kind, and cost nothing before.
 */
import { Notices } from "../base/notices.ts";
import type { MirrorNotices } from "../mirror/notices.ts";

export class RelayedNotices extends Notices<MirrorNotices> {
  readonly #here: Notices<MirrorNotices>;
  readonly #kinds = new Set<keyof MirrorNotices>();
  readonly #want: (kind: keyof MirrorNotices) => void;

  /**
   * @param here what happens in this process.
   * @param want called once for each kind that somebody wants to hear of; the facts are then emitted here.
   */
  constructor(here: Notices<MirrorNotices>, want: (kind: keyof MirrorNotices) => void) {
    super();
    this.#here = here;
    this.#want = want;
  }

  get kinds(): (keyof MirrorNotices)[] {
    return [...this.#kinds];
  }

  override on<K extends keyof MirrorNotices>(kind: K, observer: (fact: MirrorNotices[K]) => void): () => void {
    const endHere = this.#here.on(kind, observer);
    const endThere = super.on(kind, observer);
    if (!this.#kinds.has(kind)) {
      this.#kinds.add(kind);
      this.#want(kind);
    }
    return () => {
      endHere();
      endThere();
    };
  }
}
