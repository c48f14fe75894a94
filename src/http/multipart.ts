/**
 * The body of a multi-range answer, `multipart/byteranges` (RFC 9110 §14.6). Pure.
 */
import { randomBytes } from "node:crypto";
import type { Slice } from "../mirror/slice.ts";
import type { Piece } from "./send.ts";

export interface Multipart {
  readonly contentType: string;
  readonly contentLength: number;
  readonly pieces: readonly Piece[];
}

export function planMultipart(ranges: readonly Slice[], sizeBytes: number, mediaType: string): Multipart {
  const boundary = randomBytes(18).toString("hex");
  const pieces: Piece[] = [];
  let contentLength = 0;
  for (const [at, range] of ranges.entries()) {
    const head = Buffer.from(
      `${at === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Type: ${mediaType}\r\n` +
        `Content-Range: bytes ${range.start}-${range.end}/${sizeBytes}\r\n\r\n`,
    );
    pieces.push(head, range);
    contentLength += head.length + range.end - range.start + 1;
  }
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  pieces.push(tail);
  contentLength += tail.length;
  return { contentType: `multipart/byteranges; boundary=${boundary}`, contentLength, pieces };
}
