/**
 * References as Docker writes them, and the place that they name: without a registry it is Docker Hub's.
 */
import * as z from "zod";
import { isFailure } from "../base/failure.ts";
import { parseImageName } from "../bundle/names.ts";
import type { Place } from "../meta/repositories.ts";
import { type Reference, referenceText } from "../oci/reference.ts";

export interface NamedImage {
  readonly place: Place;
  readonly reference: Reference;
}

/** `alpine`, `alpine:3.20`, `ghcr.io/owner/app@sha256:…`. @throws Failure `invalid` */
export function parseNamedImage(text: string): NamedImage {
  return parseImageName(text);
}

export function imageText({ place, reference }: NamedImage): string {
  const mark = reference.type === "tag" ? ":" : "@";
  return `${place.upstream}/${place.repository}${mark}${referenceText(reference)}`;
}

/** Of inputs. */
export const imageReference = z
  .string()
  .min(1)
  .max(500)
  .transform((text, context): NamedImage => {
    try {
      return parseNamedImage(text);
    } catch (error) {
      if (!isFailure(error)) throw error;
      context.addIssue({ code: "custom", message: error.message });
      return z.NEVER;
    }
  })
  .describe("As Docker writes it: alpine, alpine:3.20, ghcr.io/owner/app@sha256:…");
