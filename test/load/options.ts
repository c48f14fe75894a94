/** Options of a small run, for tests. */
import type { LoadOptions } from "../../src/load/options.ts";

export function loadOptions(url: string, more: Partial<LoadOptions> = {}): LoadOptions {
  return {
    url: new URL(url),
    references: ["app:1"],
    scenario: "warm",
    as: "containerd",
    clients: 2,
    durationMs: 300,
    concurrency: undefined,
    platform: "linux/amd64",
    prefix: undefined,
    chunkBytes: 64 * 1024,
    bytesPerSecond: 50_000,
    zipfExponent: 1,
    seed: 1,
    manifestMethod: undefined,
    verify: true,
    login: undefined,
    tokenRealm: null,
    tls: { ca: undefined, insecure: false },
    timeoutMs: 10_000,
    version: "0",
    ...more,
  };
}
