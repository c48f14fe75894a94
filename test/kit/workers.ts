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

/** For a program that is started by a test: with as many workers, and without the variable that it does not know. */
export function programEnvironment(): NodeJS.ProcessEnv {
  const { WHARFINGER_TEST_WORKERS: workers, ...env } = process.env;
  return workers === undefined ? env : { ...env, WHARFINGER_WORKERS: workers };
}
