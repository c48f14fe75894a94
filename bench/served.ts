/**
 * A server that is running and can be asked for the library's content: the mirror, a peer, or the origin.
 */
import type { Daemon } from "./daemon.ts";
import type { LibraryBlob, LibraryManifest } from "./library.ts";

export interface Served {
  /** How tables and charts call it. */
  readonly name: string;
  readonly daemon: Daemon;
  readonly port: number;
  /** Whether it pulls through from the origin; false where it serves the library's files itself. */
  readonly pullsThrough: boolean;
  blobPath(blob: LibraryBlob): string;
  manifestPath(manifest: LibraryManifest): string;
  /** Waits until nothing is being fetched or stored any more. */
  settled(): Promise<void>;
}

/** Where a registry has them. */
export const registryPaths: Pick<Served, "blobPath" | "manifestPath"> = {
  blobPath: ({ path }) => path,
  manifestPath: ({ path }) => path,
};
