/**
 * What is asked of a run that warms images, and what it tells.
 */
import type { Platform } from "../oci/platform.ts";
import type { Sums } from "./warm-tally.ts";

export interface WarmRequest {
  /** As Docker writes them. */
  readonly references: readonly string[];
  /** None: all that an image has. */
  readonly platforms: readonly Platform[];
  /** All tags of the references' repositories that match. */
  readonly allTags?: string | undefined;
  /** How long one upstream's limit is waited for. */
  readonly waitMs: number;
  /** True where nobody asked but the configuration. */
  readonly scheduled?: boolean;
}

export interface WarmFailure {
  readonly reference: string;
  /** A failure's kind, or `bug`. */
  readonly kind: string;
  readonly message: string;
}

export interface RunningImage extends Sums {
  readonly reference: string;
  /** What it waits for, and how long still. */
  readonly waiting?: { readonly what: string; readonly ms: number };
}

export type WarmEvent =
  | {
      readonly event: "progress";
      readonly running: readonly RunningImage[];
      readonly total: Sums & { readonly images: number; readonly ended: number };
    }
  | {
      readonly event: "image";
      readonly reference: string;
      readonly digest: string;
      readonly manifests: number;
      readonly blobs: number;
      readonly fetchedBytes: number;
      readonly storedBytes: number;
      readonly missingPlatforms: readonly string[];
      readonly durationMs: number;
    }
  | ({ readonly event: "imageFailed" } & WarmFailure);

export interface WarmSummary {
  readonly images: number;
  readonly fetchedBytes: number;
  readonly storedBytes: number;
  readonly durationMs: number;
  readonly failed: readonly WarmFailure[];
}
