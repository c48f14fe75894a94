/**
 * Words of a command, as yargs hands them over.
 */

/** Whether one was given, several, or none. */
export function words(given: unknown): string[] {
  if (given === undefined || given === null) return [];
  return (Array.isArray(given) ? given : [given]).map(String).filter((word) => word !== "");
}
