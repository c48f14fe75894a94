/**
 * The options of Node that a front inherits: all that the mirror was started with (memory limits, TLS, preloaded modules),
 * but for those that are one process's alone: a debugger's port, files that a second process would write over, and what
 * to run.
 */
const ONE_PROCESS = [
  /^--(inspect|debug-port|watch)/,
  /^--(experimental-)?test/,
  /^--(cpu-prof|heap-prof|heapsnapshot|prof$|report-filename)/,
  /^--(eval|print|check|interactive|input-type|experimental-default-type)/,
  /^-([epci]|pe)?$/,
];

/** @param execArgv as `process.execArgv`, where a word without a dash is the value of the option before it. */
export function handedOn(execArgv: readonly string[]): string[] {
  const kept: string[] = [];
  let keeping = false;
  for (const word of execArgv) {
    if (word.startsWith("-")) keeping = !ONE_PROCESS.some((option) => option.test(word));
    if (keeping) kept.push(word);
  }
  return kept;
}
