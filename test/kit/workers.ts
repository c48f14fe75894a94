/**
 * Tests that need everything in this process: its clock, its objects, its count of connections. With
 * `WHARFINGER_TEST_WORKERS` they are skipped, and say why.
 */
import test from "node:test";
import { TEST_WORKERS } from "./mirror.ts";

/** @returns `test`, for tests that must not be run with several processes. */
export function testInOneProcess(why: string): (title: string, run: () => Promise<void>) => void {
  return (title, run) => {
    if (TEST_WORKERS > 1) test(title, { skip: why });
    else test(title, run);
  };
}
