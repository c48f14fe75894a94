/**
 * One open file descriptor with several users; it is closed when the last of them lets go, and no sooner.
 *
 * So a descriptor number is never reused under somebody who still reads, and an unlinked file stays readable.
 */
import { close } from "node:fs";

export class OpenFile {
  readonly fd: number;
  /** The name it was opened by; it may have another by now. */
  readonly path: string | undefined;
  #users = 1;

  /** Takes over `fd`; the caller is its first user. */
  constructor(fd: number, path?: string) {
    this.fd = fd;
    this.path = path;
  }

  retain(): this {
    if (this.#users === 0) throw new Error("retained after it was closed");
    this.#users += 1;
    return this;
  }

  release(): void {
    if (this.#users === 0) throw new Error("released more often than retained");
    this.#users -= 1;
    // The bytes are read or synced by now: an error on close tells nothing that anyone could act on.
    if (this.#users === 0) close(this.fd, () => {});
  }
}
