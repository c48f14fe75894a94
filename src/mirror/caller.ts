/**
 * Whoever asks the mirror for something, as far as the mirror cares.
 */

export interface Caller {
  /** Aborts when the caller has left. Read only where something is waited for: it may be made on first use. */
  readonly signal: AbortSignal;
}
