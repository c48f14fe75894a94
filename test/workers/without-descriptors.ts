/** Has a front die where no descriptors are left to replace it, lets go of them, and says so when it was replaced. */
import { closeSync, openSync } from "node:fs";
import { openPort, play, until } from "./playing.ts";

const { fronts, ended } = play([{ dies: true }, {}], 1);
const port = await openPort();
await fronts.start(port);
const held: number[] = [];
try {
  for (;;) held.push(openSync("/dev/null", "r"));
} catch {
  // None is left.
}
await until(() => ended.length >= 2);
for (const fd of held) closeSync(fd);
await until(() => fronts.complete);
await fronts.stop(0);
process.stdout.write(`replaced after: ${ended.join("; ")}`);
