/**
 * Copies bytes of a file to a socket inside the kernel: sendfile(2), called through koffi, an optional dependency.
 *
 * The calls are synchronous and never wait: the socket does not block, and only bytes that are in the page cache are
 * asked for (preadv2(2) with RWF_NOWAIT tells). Where koffi, Linux or glibc is absent there is no `KernelCopy`, and
 * everything works without.
 */
import type { Socket } from "node:net";

export interface KernelCopy {
  /**
   * Moves bytes of the file, from `position` on, to the socket, as many as it takes without waiting. What is not in the
   * page cache would be waited for: ask `isCached` first.
   * @returns how many; 0 where it takes none now, or at any error: whoever then writes the ordinary way learns what it is.
   */
  copy(socket: Socket, file: number, position: number, count: number): number;
  /** Whether these bytes are in the page cache, going by samples. */
  isCached(file: number, position: number, count: number): boolean;
  /**
   * Reads bytes of the file that are in the page cache.
   * @returns how many; 0 where they would have to be waited for, or at any error.
   */
  readCached(file: number, buffer: Buffer, count: number, position: number): number;
}

const RWF_NOWAIT = 0x8;
const PROBE_EVERY_BYTES = 1024 * 1024;

/** @returns undefined where it cannot be had, whatever the reason. */
export async function openKernelCopy(): Promise<KernelCopy | undefined> {
  if (process.platform !== "linux") return undefined;
  try {
    const { default: koffi } = await import("koffi");
    const libc = koffi.load("libc.so.6");
    const iovec = koffi.pointer(koffi.struct({ base: "void *", length: "size_t" }));
    return new LibcCopy(
      libc.func("int64_t sendfile64(int out, int in, _Inout_ int64_t *offset, size_t count)"),
      libc.func("preadv2", "int64_t", ["int", iovec, "int", "int64_t", "int"]),
    );
  } catch {
    return undefined;
  }
}

/** The descriptor of an open plain socket. Node keeps it in the handle, and drops the handle when it closes it. */
interface WithHandle {
  readonly _handle?: { readonly fd?: number } | null;
}

type Sendfile = (out: number, file: number, offset: bigint[], count: number) => number | bigint;
type Preadv2 = (file: number, iov: object, count: number, offset: number, flags: number) => number | bigint;

class LibcCopy implements KernelCopy {
  readonly #sendfile: Sendfile;
  readonly #preadv2: Preadv2;
  readonly #probe = Buffer.alloc(8);

  constructor(sendfile: Sendfile, preadv2: Preadv2) {
    this.#sendfile = sendfile;
    this.#preadv2 = preadv2;
  }

  copy(socket: Socket, file: number, position: number, count: number): number {
    // What is still queued would arrive after what is copied past it.
    if (socket.destroyed || socket.writableLength > 0 || "encrypted" in socket) return 0;
    // Looked up at every call: a number that outlived its socket might be somebody else's by now.
    const out = (socket as unknown as WithHandle)._handle?.fd;
    if (out === undefined || out < 0) return 0;
    const moved = Number(this.#sendfile(out, file, [BigInt(position)], count));
    return Math.max(moved, 0);
  }

  readCached(file: number, buffer: Buffer, count: number, position: number): number {
    const read = Number(this.#preadv2(file, { base: buffer, length: count }, 1, position, RWF_NOWAIT));
    return Math.max(read, 0);
  }

  isCached(file: number, position: number, count: number): boolean {
    for (let at = position; at < position + count; at += PROBE_EVERY_BYTES) {
      if (!this.#isByteCached(file, at)) return false;
    }
    return this.#isByteCached(file, position + count - 1);
  }

  #isByteCached(file: number, position: number): boolean {
    return this.readCached(file, this.#probe, 1, position) === 1;
  }
}
