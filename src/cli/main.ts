#!/usr/bin/env node
/**
 * The program. It must be understood by every Node since 14, so that an old one is told so in one line: nothing is
 * imported before the version has been looked at.
 */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < 24 || (major === 24 && minor < 15)) {
  process.stderr.write(`wharfinger needs Node 24.15 or newer; this is ${process.versions.node}\n`);
  process.exit(2);
}

const { guardOutput } = await import("./unwritable.ts");
let failedCode = 0;
guardOutput(process, (code) => {
  failedCode = code;
  process.exitCode = code;
});
const { run } = await import("./run.ts");
const ownCode = await run(process.argv.slice(2));
process.exitCode = failedCode === 0 ? ownCode : failedCode;
// Everything has been stopped. Should a connection linger all the same, it does not keep the process.
setTimeout(() => process.exit(), 1000).unref();

export {};
