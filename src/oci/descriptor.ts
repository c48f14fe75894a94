/**
 * What one document says of another: digest, size, media type (OCI image specification, descriptor.md).
 */
import type { Digest } from "./digest.ts";

export interface Descriptor {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly mediaType: string;
  /** Of manifests that an index names: `linux/arm64/v8`; absent where it says none. */
  readonly platform?: string;
}
