/**
 * A tar writer for layers that a real client unpacks: regular files, directories, symbolic links, names up to 99
 * bytes (POSIX ustar). Deterministic: owner root, time zero, entries in the order given.
 */
import { gzipSync } from "node:zlib";

export interface TarEntry {
  /** No leading slash; a directory ends in one. */
  readonly name: string;
  readonly bytes?: Uint8Array | string;
  /** Default 0o644, 0o755 for a directory. */
  readonly mode?: number;
  /** Makes the entry a symbolic link to here. */
  readonly linkTo?: string;
}

export function makeTar(entries: readonly TarEntry[]): Buffer {
  const parts: Buffer[] = [];
  for (const entry of entries) {
    const bytes = Buffer.from(entry.bytes ?? "");
    parts.push(header(entry, bytes.length), bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  }
  parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}

/** The bytes of a layer, with the tar they hold: the config of an image names the tar's digest. */
export interface TarLayer {
  readonly tar: Buffer;
  readonly gzip: Buffer;
}

export function makeTarLayer(entries: readonly TarEntry[]): TarLayer {
  const tar = makeTar(entries);
  return { tar, gzip: gzipSync(tar, { level: 1 }) };
}

function header(entry: TarEntry, sizeBytes: number): Buffer {
  const directory = entry.name.endsWith("/");
  const block = Buffer.alloc(512);
  if (Buffer.byteLength(entry.name) > 99) throw new Error(`name too long for this tar writer: ${entry.name}`);
  block.write(entry.name, 0);
  const octal = (value: number, at: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at);
  octal(entry.mode ?? (directory ? 0o755 : 0o644), 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(0, 136, 12);
  block.fill(" ", 148, 156);
  block.write(entry.linkTo !== undefined ? "2" : directory ? "5" : "0", 156);
  if (entry.linkTo !== undefined) block.write(entry.linkTo, 157);
  block.write("ustar\x0000", 257, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  return block;
}
