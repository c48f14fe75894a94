/**
 * What is running, and how full it is. Commands compare `instance` with what the owner of a cache directory left there,
 * to tell whether they talk to the mirror of that directory.
 */
import * as z from "zod";
import { type JsonOperation, jsonOperation, type Operation } from "./operation.ts";

export interface StatusParts {
  readonly version: string;
  readonly instance: string;
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly workers: number;
  readonly startedAt: number;
  readonly limits: {
    readonly maxBytes: number;
    readonly minFreeBytes: number;
    /** What some upstreams may have of it. */
    readonly shares: ReadonlyMap<string, number>;
  };
  /** Those that are configured. */
  readonly upstreams: readonly string[];
  now(): number;
  stored(): { readonly blobs: number; readonly bytes: number };
  storedOf(): readonly { readonly upstream: string; readonly blobs: number; readonly bytes: number }[];
  /** Undefined where the file system does not say. */
  freeBytes(): Promise<number | undefined>;
  readiness(): { readonly ready: boolean; readonly reason: string; readonly degraded?: object | undefined };
}

const STATUS = z.object({
  product: z.literal("wharfinger"),
  version: z.string(),
  instance: z.string().describe("Another one with each start"),
  ready: z.boolean(),
  degraded: z.boolean().describe("It serves, though not as it should"),
  state: z.string().describe("Why it is not ready, or how well it is"),
  offline: z.boolean(),
  workers: z.int(),
  startedAt: z.string().describe("ISO 8601"),
  uptimeSeconds: z.number(),
  cache: z.object({
    dir: z.string(),
    blobs: z.int(),
    sizeBytes: z.int(),
    maxBytes: z.int(),
    minFreeBytes: z.int(),
    freeBytes: z.int().nullable().describe("Of the file system"),
    upstreams: z
      .array(
        z.object({
          upstream: z.string(),
          blobs: z.int(),
          sizeBytes: z.int(),
          maxBytes: z.int().nullable().describe("Its own limit, `maxSize`; null: that of the cache"),
        }),
      )
      .describe("Those that are configured, and whatever is still stored of others; each blob with whom it came from"),
  }),
});

export type Status = z.output<typeof STATUS>;

export function statusOperation(parts: StatusParts): Operation {
  const operation: JsonOperation<object> = {
    method: "GET",
    path: "/api/v1/status",
    summary: "What is running, and how full its cache is",
    input: z.object({}),
    answers: "json",
    output: STATUS,
    async run(): Promise<Status> {
      const { version, instance, cacheDir, offline, workers, startedAt, limits } = parts;
      const { ready, reason, degraded } = parts.readiness();
      const { maxBytes, minFreeBytes } = limits;
      const { blobs, bytes } = parts.stored();
      const freeBytes = (await parts.freeBytes()) ?? null;
      return {
        product: "wharfinger",
        ...{ version, instance, ready, degraded: degraded !== undefined, state: reason, offline, workers },
        startedAt: new Date(startedAt).toISOString(),
        uptimeSeconds: Math.max(0, Math.round((parts.now() - startedAt) / 1000)),
        cache: {
          ...{ dir: cacheDir, blobs, sizeBytes: bytes, maxBytes, minFreeBytes, freeBytes },
          upstreams: upstreamsOf(parts),
        },
      };
    },
  };
  return jsonOperation(operation);
}

function upstreamsOf({ upstreams, limits, storedOf }: StatusParts): Status["cache"]["upstreams"] {
  const stored = new Map(storedOf().map((one) => [one.upstream, one]));
  const known = new Set([
    ...upstreams,
    ...[...stored.values()].flatMap((one) => (one.blobs > 0 ? [one.upstream] : [])),
  ]);
  return [...known].sort().map((upstream) => {
    const { blobs = 0, bytes = 0 } = stored.get(upstream) ?? {};
    return { upstream, blobs, sizeBytes: bytes, maxBytes: limits.shares.get(upstream) ?? null };
  });
}
