/**
 * Which bytes of a file are written, where they come in pieces and in any order. The pieces never overlap.
 */
export class Extents {
  /** Start to end, not inclusive; neighbours are one. Few: one for each place that is written at. */
  readonly #ends = new Map<number, number>();
  readonly #starts = new Map<number, number>();

  add(start: number, end: number): void {
    if (end <= start) return;
    const first = this.#starts.get(start) ?? start;
    const last = this.#ends.get(end) ?? end;
    this.#starts.delete(start);
    this.#ends.delete(end);
    this.#ends.set(first, last);
    this.#starts.set(last, first);
  }

  /** The end of what is written without a gap from the first byte on. */
  get prefix(): number {
    return this.#ends.get(0) ?? 0;
  }
}
