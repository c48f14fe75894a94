/**
 * Names of accounts, which stand in messages and label values: one line of printable ASCII, and short.
 */

const MAX_CHARACTERS = 128;

/** @param text of whatever origin; anything that is no plain text of a name becomes `?` */
export function accountName(...parts: readonly string[]): string {
  return parts
    .join(":")
    .slice(0, MAX_CHARACTERS)
    .replaceAll(/[^\x21-\x7e]/g, "?");
}
