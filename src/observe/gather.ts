/**
 * Gathers log lines in pages of memory and hands them on a page at a time: the writer behind would look at all that it
 * holds with every line it is given.
 *
 * A line is never torn between two pages. What is gathered is handed on when a page is full, at the latest after
 * `everyMs`, and when somebody flushes.
 */

/** Whoever writes pages; sonic-boom is one. */
export interface PageWriter {
  /** Takes the page over. */
  write(page: Buffer): unknown;
  flush(done?: (error?: Error) => void): void;
  flushSync(): void;
}

const PAGE_BYTES = 32 * 1024;
/** No character takes more in UTF-8 than three bytes a unit of UTF-16. */
const MOST_BYTES_PER_UNIT = 3;

export class LineGatherer {
  readonly #writer: PageWriter;
  readonly #everyMs: number;
  readonly #pageBytes: number;
  #page: Buffer;
  #filled = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(writer: PageWriter, everyMs: number, pageBytes = PAGE_BYTES) {
    this.#pageBytes = pageBytes;
    this.#page = Buffer.allocUnsafeSlow(pageBytes);
    this.#writer = writer;
    this.#everyMs = everyMs;
  }

  write(line: string): void {
    if (this.#filled + line.length * MOST_BYTES_PER_UNIT > this.#pageBytes) this.#handOn();
    if (line.length * MOST_BYTES_PER_UNIT > this.#pageBytes) {
      this.#writer.write(Buffer.from(line));
      return;
    }
    this.#filled += this.#page.write(line, this.#filled);
    this.#timer ??= setTimeout(() => this.#handOn(), this.#everyMs).unref();
  }

  flush(done?: (error?: Error) => void): void {
    this.#handOn();
    this.#writer.flush(done);
  }

  flushSync(): void {
    this.#handOn();
    this.#writer.flushSync();
  }

  #handOn(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#filled === 0) return;
    const page = this.#page.subarray(0, this.#filled);
    // The writer writes behind our back.
    this.#page = Buffer.allocUnsafeSlow(this.#pageBytes);
    this.#filled = 0;
    this.#writer.write(page);
  }
}
