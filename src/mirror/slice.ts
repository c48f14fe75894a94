/** A contiguous piece of a blob. */
export interface Slice {
  readonly start: number;
  /** The last byte, inclusive, as in a Range header. */
  readonly end: number;
}
