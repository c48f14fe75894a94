/**
 * What one document says of another: digest, size, media type (OCI image specification, descriptor.md).
 */
import type { Digest } from "./digest.ts";

export interface Descriptor {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly mediaType: string;
}
