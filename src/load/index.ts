/** The load benchmark, as the command line uses it; loaded when it is asked for. */
export { Display } from "./display.ts";
export { reportPage } from "./page.ts";
export { runLoad } from "./run.ts";
export { reportText } from "./table.ts";
