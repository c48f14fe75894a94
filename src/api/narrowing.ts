/**
 * Pins for some platforms, made good: the edges from what they hold to manifests of other platforms are cut, and drawn
 * again when nobody pins it so any more. What is held follows tags, so this runs whenever that changes.
 */

import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Pins } from "../meta/pins.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Digest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { manifestsFor, parsePlatform } from "../oci/platform.ts";
import type { ManifestReader } from "./platforms.ts";

export interface NarrowingParts {
  readonly pins: Pick<Pins, "narrowed" | "cutIndexes" | "cut" | "settle" | "onChange">;
  readonly inventory: Pick<Inventory, "findMediaType">;
  readonly read: ManifestReader;
  readonly notices: Emitter<MirrorNotices>;
  readonly signal: AbortSignal;
}

const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;

export class Narrowing {
  readonly #parts: NarrowingParts;
  #running: Promise<void> = Promise.resolve();
  #wanted = false;

  constructor(parts: NarrowingParts) {
    this.#parts = parts;
    parts.pins.onChange(() => void this.refresh());
  }

  /** Resolves when all that was changed until now is made good. Never rejects. */
  refresh(): Promise<void> {
    if (this.#wanted) return this.#running;
    this.#wanted = true;
    // Whoever tells of a change is still at it: another turn.
    this.#running = this.#running.then(() => new Promise((resolve) => setImmediate(resolve))).then(() => this.#all());
    return this.#running;
  }

  async #all(): Promise<void> {
    this.#wanted = false;
    const { pins, notices, signal } = this.#parts;
    if (signal.aborted) return;
    try {
      pins.settle();
      const narrowed = pins.narrowed();
      for (const index of new Set([...narrowed.keys(), ...pins.cutIndexes()])) {
        if (signal.aborted) return;
        await this.#one(index, narrowed.get(index) ?? []);
      }
    } catch (cause) {
      notices.emit("backgroundFailed", { what: "pins for some platforms", cause });
    }
  }

  /** What cannot be read is held as it is. */
  async #one(index: Digest, platforms: readonly string[]): Promise<void> {
    const { pins, read } = this.#parts;
    const mediaType = this.#parts.inventory.findMediaType(index);
    try {
      const bytes = mediaType === undefined ? undefined : await read(index, MAX_MANIFEST_BYTES);
      if (bytes === undefined) {
        pins.cut(index, { away: [], kept: [] });
        return;
      }
      const { manifests, blobs } = parseManifest(bytes, mediaType);
      const wanted = new Set(manifestsFor(bytes, manifests, platforms.map(parsePlatform)).map(({ digest }) => digest));
      const away = manifests.map(({ digest }) => digest).filter((digest) => !wanted.has(digest));
      pins.cut(index, { away, kept: [...wanted, ...blobs.map(({ digest }) => digest)] });
    } catch (error) {
      if (!isFailure(error)) throw error;
    }
  }
}
