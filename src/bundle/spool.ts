/**
 * Layers on their way whose digest is not known before they were read: written to a file beside the store, hashed
 * meanwhile, and read back once. Nothing of it is left when it is closed.
 */
import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import type { Room } from "../mirror/capacity.ts";
import { type Digest, finishDigest } from "../oci/digest.ts";

export interface Spooled {
  readonly digest: Digest;
  readonly isGzip: boolean;
  chunks(): AsyncGenerator<Buffer>;
  remove(): Promise<void>;
}

const CHUNK_BYTES = 256 * 1024;

export class Spool {
  readonly #directory: string;
  #made = false;

  /** @param parent a directory of the store's; a new one is made in it when it is needed. */
  constructor(parent: string) {
    this.#directory = join(parent, randomBytes(8).toString("hex"));
  }

  /** @throws Failure `storage`, `corrupt` where there are more or fewer bytes. */
  async write(chunks: AsyncIterable<Buffer>, sizeBytes: number, reserve: () => Promise<Room>): Promise<Spooled> {
    const room = await reserve();
    const path = join(this.#directory, "layer");
    let file: FileHandle | undefined;
    const remove = async () => {
      room.release();
      await rm(path, { force: true });
    };
    try {
      if (!this.#made) await mkdir(this.#directory, { recursive: true });
      this.#made = true;
      file = await open(path, "wx", 0o600);
      const hash = createHash("sha256");
      let isGzip = false;
      let written = 0;
      for await (const chunk of chunks) {
        if (written === 0) isGzip = chunk[0] === 0x1f && chunk[1] === 0x8b;
        hash.update(chunk);
        await file.write(chunk);
        written += chunk.length;
      }
      if (written !== sizeBytes)
        throw new Failure("corrupt", "the archive breaks off", { detail: { truncated: true } });
      return { digest: finishDigest("sha256", hash), isGzip, chunks: () => readBack(path), remove };
    } catch (error) {
      await remove();
      if (isFailure(error)) throw error;
      throw new Failure("storage", `a layer cannot be written: ${messageOf(error)}`, { cause: error });
    } finally {
      await file?.close();
    }
  }

  async close(): Promise<void> {
    if (this.#made) await rm(this.#directory, { recursive: true, force: true });
  }
}

async function* readBack(path: string): AsyncGenerator<Buffer> {
  const file = await open(path, "r");
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(CHUNK_BYTES), 0, CHUNK_BYTES);
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}
