/**
 * What `wharfinger warm` says: of each image as it ends, and of all together. Pure.
 */

import { Failure, type FailureKind } from "../base/failure.ts";
import type { WarmEvent, WarmSummary } from "../bundle/warm.ts";
import { bytesText } from "../config/figures.ts";
import { EXIT, exitCodeOf } from "./exit.ts";
import { plain, spanText } from "./wording.ts";

export type EndedImage = Extract<WarmEvent, { event: "image" }>;

export function imageText(image: EndedImage): string {
  const { reference, fetchedBytes, storedBytes, durationMs, missingPlatforms } = image;
  const here = storedBytes > 0 ? [`${bytesText(storedBytes)} were here`] : [];
  const how =
    fetchedBytes === 0
      ? `was here already, ${bytesText(storedBytes)}`
      : [`${bytesText(fetchedBytes)} fetched in ${spanText(durationMs)}`, ...here].join(", ");
  const missing = missingPlatforms.length === 0 ? "" : `; there is none for ${missingPlatforms.join(", ")}`;
  return plain(`${reference}: ${how}${missing}`);
}

export function failureText({ reference, message }: { readonly reference: string; readonly message: string }): string {
  return plain(`${reference}: FAILED: ${message}`);
}

/** One line, and one for each failure. */
export function summaryText({ images, failed, fetchedBytes, storedBytes, durationMs }: WarmSummary): string {
  const warm = images - failed.length;
  const count = images === 1 ? "1 image" : `${images} images`;
  const how = failed.length === 0 ? "warm" : `${warm} warm, ${failed.length} failed`;
  const bytes = `${bytesText(fetchedBytes)} fetched, ${bytesText(storedBytes)} were here`;
  const lines = [
    `${count}: ${how}; ${bytes}; ${spanText(durationMs)}`,
    ...failed.map((one) => `  ${failureText(one)}`),
  ];
  return lines.map((line) => `${line}\n`).join("");
}

/** 1 where something failed that may work another time, else 4 where something was refused, else 3. */
export function exitCodeOfWarm(failed: readonly { readonly kind: string }[]): number {
  if (failed.length === 0) return EXIT.done;
  const codes = new Set(failed.map(({ kind }) => (isKind(kind) ? exitCodeOf(new Failure(kind, "")) : EXIT.failed)));
  if (codes.has(EXIT.failed)) return EXIT.failed;
  if (codes.has(EXIT.refused)) return EXIT.refused;
  return codes.has(EXIT.notFound) ? EXIT.notFound : EXIT.badUsage;
}

const KINDS: Readonly<Record<FailureKind, true>> = {
  ...{ invalid: true, unauthenticated: true, denied: true, unknown: true, unsupported: true, limited: true },
  ...{ refused: true, corrupt: true, unreachable: true, overloaded: true, storage: true },
};

function isKind(kind: string): kind is FailureKind {
  return Object.hasOwn(KINDS, kind);
}
