/**
 * Standard output and standard error that take nothing any more: a reader that left (`ls | head`), a full disk.
 *
 * Whoever reads no further has what he wanted: that is quiet, and the work goes on to its end. What else keeps a result
 * from being written is told once, in one line, and is the program's failure.
 */
import type { EventEmitter } from "node:events";
import { messageOf } from "../base/failure.ts";
import { EXIT } from "./exit.ts";

interface Streams {
  readonly stdout: Pick<EventEmitter, "on">;
  readonly stderr: Pick<EventEmitter, "on"> & { write(text: string): unknown };
}

/** @param fail is told the exit code, maybe after the command's own is known. */
export function guardOutput({ stdout, stderr }: Streams, fail: (code: number) => void): void {
  let isTold = false;
  stdout.on("error", (error: unknown) => {
    if (isTold || isReaderGone(error)) return;
    isTold = true;
    stderr.write(`wharfinger: cannot write to standard output: ${messageOf(error)}\n`);
    fail(EXIT.failed);
  });
  // There is nobody left to tell.
  stderr.on("error", () => {});
}

function isReaderGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EPIPE";
}
