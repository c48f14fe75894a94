/**
 * The head of an HTTP/1 answer, from bytes in any pieces; pure.
 *
 * Strict (RFC 9112 §2.2, §4, §5): lines end in CRLF, no folding, no control characters, no space before the colon; what
 * a lenient reader would have to guess at is refused. The text is bounded, and so is the number of fields.
 */
import { malformed, WireFault } from "./fault.ts";

/** Of all heads of an exchange together, interim ones included. */
export const MAX_HEAD_BYTES = 64 * 1024;
const MAX_FIELDS = 200;

const LF = 0x0a;
const BEGINNING = "HTTP/1.";
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

export type Headers = Readonly<Record<string, string | string[] | undefined>>;

export interface Head {
  readonly minor: 0 | 1;
  readonly status: number;
  /** Names in lower case; values without the space around them; several of one name in order. */
  readonly headers: Headers;
}

export class HeadReader {
  #left = MAX_HEAD_BYTES;
  /** Of the line that has not ended. */
  #partial = "";
  #status: Pick<Head, "minor" | "status"> | undefined;
  #headers: Record<string, string | string[]> = Object.create(null);
  #fields = 0;
  #head: Head | undefined;

  /**
   * Takes bytes until the head is whole; `head` is defined then.
   * @returns where in `bytes` the head ended, or their length.
   * @throws WireFault for what is no head.
   */
  feed(bytes: Uint8Array, from = 0): number {
    let at = from;
    while (this.#head === undefined && at < bytes.length) {
      const lf = bytes.indexOf(LF, at);
      const end = lf < 0 ? bytes.length : lf + 1;
      this.#left -= end - at;
      if (this.#left < 0) throw new WireFault("WIRE_HEAD_TOO_LARGE", "the headers are too large");
      this.#partial += latin1(bytes, at, end);
      at = end;
      if (lf < 0) this.#looksRight();
      else this.#line();
    }
    return at;
  }

  get head(): Head | undefined {
    return this.#head;
  }

  /** After an interim answer (1xx): the next head, within what is left of the bounds. */
  again(): void {
    this.#head = undefined;
    this.#status = undefined;
    this.#headers = Object.create(null);
  }

  /** Whoever speaks another protocol is not waited for. */
  #looksRight(): void {
    if (this.#status !== undefined) return;
    const length = Math.min(this.#partial.length, BEGINNING.length);
    if (this.#partial.slice(0, length) !== BEGINNING.slice(0, length)) throw malformed("no HTTP/1 answer");
  }

  #line(): void {
    if (!this.#partial.endsWith("\r\n")) throw malformed("a line that does not end in CRLF");
    const line = this.#partial.slice(0, -2);
    this.#partial = "";
    if (this.#status === undefined) this.#status = parseStatusLine(line);
    else if (line === "") this.#head = { ...this.#status, headers: this.#headers };
    else this.#field(line);
  }

  #field(line: string): void {
    this.#fields += 1;
    if (this.#fields > MAX_FIELDS) throw new WireFault("WIRE_HEAD_TOO_LARGE", "too many headers");
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    const value = withoutSpace(line.slice(colon + 1));
    if (!NAME.test(name)) throw malformed("a malformed header name");
    if (!VALUE.test(value)) throw malformed("a control character in a header");
    const key = name.toLowerCase();
    const before = this.#headers[key];
    if (before === undefined) this.#headers[key] = value;
    else if (typeof before === "string") this.#headers[key] = [before, value];
    else before.push(value);
  }
}

function parseStatusLine(line: string): Pick<Head, "minor" | "status"> {
  const match = STATUS_LINE.exec(line);
  if (match === null) throw malformed("a malformed status line");
  return { minor: match[1] === "0" ? 0 : 1, status: Number(match[2]) };
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString("latin1");
}

/** Step by step: a pattern would look at a long run of spaces again from each of them. */
function withoutSpace(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isSpace(text[from])) from += 1;
  while (to > from && isSpace(text[to - 1])) to -= 1;
  return text.slice(from, to);
}

function isSpace(character: string | undefined): boolean {
  return character === " " || character === "\t";
}
