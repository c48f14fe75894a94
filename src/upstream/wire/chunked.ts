/**
 * The chunked coding (RFC 9112 §7.1), from bytes in any pieces; pure.
 *
 * A `Framing` (`framing.ts`) that looks at what is around the content, which the caller moves. Sizes, extensions and trailers
 * are bounded and strictly read; extensions and trailers are dropped.
 */
import { malformed } from "./fault.ts";

/** 16^13 bytes are more than there are, and still exact. */
const MAX_DIGITS = 13;
const MAX_EXTENSION_BYTES = 1024;
/** Of all chunks together. */
const MAX_EXTENSIONS_BYTES = 64 * 1024;
const MAX_TRAILER_BYTES = 16 * 1024;

const CR = 0x0d;
const LF = 0x0a;
const TAB = 0x09;
const SEMICOLON = 0x3b;

type Place =
  | "size"
  | "extension"
  | "size-lf"
  | "content"
  | "content-cr"
  | "content-lf"
  | "trailer"
  | "trailer-line"
  | "trailer-lf"
  | "last-lf"
  | "ended";

export class ChunkedFraming {
  readonly plain = false;
  readonly reusable = true;
  #place: Place = "size";
  #size = 0;
  #digits = 0;
  #extension = 0;
  #extensions = 0;
  #trailer = 0;

  get content(): number {
    return this.#place === "content" ? this.#size : 0;
  }

  get ended(): boolean {
    return this.#place === "ended";
  }

  took(count: number): void {
    this.#size -= count;
    if (this.#size === 0) this.#place = "content-cr";
  }

  frame(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && this.#place !== "content" && this.#place !== "ended") {
      this.#step(bytes[at] ?? 0);
      at += 1;
    }
    return at;
  }

  endOfConnection(): boolean {
    return this.ended;
  }

  #step(byte: number): void {
    switch (this.#place) {
      case "size":
        this.#sizeByte(byte);
        break;
      case "extension":
        this.#extensionByte(byte);
        break;
      case "size-lf":
        expect(byte, LF);
        this.#place = this.#size === 0 ? "trailer" : "content";
        this.#digits = 0;
        this.#extension = 0;
        break;
      case "content-cr":
        expect(byte, CR);
        this.#place = "content-lf";
        break;
      case "content-lf":
        expect(byte, LF);
        this.#place = "size";
        break;
      case "trailer":
      case "trailer-line":
        this.#trailerByte(byte);
        break;
      case "trailer-lf":
        expect(byte, LF);
        this.#place = "trailer";
        break;
      case "last-lf":
        expect(byte, LF);
        this.#place = "ended";
        break;
    }
  }

  #sizeByte(byte: number): void {
    const digit = hexOf(byte);
    if (digit !== undefined) {
      this.#digits += 1;
      if (this.#digits > MAX_DIGITS) throw malformed("a chunk size that is too long");
      this.#size = this.#size * 16 + digit;
      return;
    }
    if (this.#digits === 0) throw malformed("a chunk without a size");
    if (byte === CR) this.#place = "size-lf";
    else if (byte === SEMICOLON) this.#place = "extension";
    else throw malformed("a malformed chunk size");
  }

  #extensionByte(byte: number): void {
    if (byte === CR) {
      this.#place = "size-lf";
      return;
    }
    this.#extension += 1;
    this.#extensions += 1;
    if (this.#extension > MAX_EXTENSION_BYTES || this.#extensions > MAX_EXTENSIONS_BYTES) {
      throw malformed("chunk extensions that are too long");
    }
    refuseControl(byte);
  }

  #trailerByte(byte: number): void {
    if (byte === CR) {
      this.#place = this.#place === "trailer" ? "last-lf" : "trailer-lf";
      return;
    }
    this.#trailer += 1;
    if (this.#trailer > MAX_TRAILER_BYTES) throw malformed("trailers that are too long");
    refuseControl(byte);
    this.#place = "trailer-line";
  }
}

function expect(byte: number, wanted: number): void {
  if (byte !== wanted) throw malformed("a malformed chunk");
}

function refuseControl(byte: number): void {
  if ((byte < 0x20 && byte !== TAB) || byte === 0x7f) throw malformed("a control character around a chunk");
}

function hexOf(byte: number): number | undefined {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : undefined;
}
