/**
 * What is fetched ahead of demand by itself, and when.
 */
import * as z from "zod";
import { cron, keyDocs, section, text } from "./fields.ts";
import { ALWAYS, asRecord } from "./upstream-schema.ts";

const COMPONENT = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const HOST = "(?:[a-zA-Z0-9-]+(?:\\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9-]+(?=:\\d)|localhost)(?::\\d{1,5})?";
/** A reference as Docker writes it; which parts it has is for whoever routes it. */
const IMAGE = new RegExp(
  `^(?:${HOST}/)?${COMPONENT}(?:/${COMPONENT})*(?::\\w[\\w.-]{0,127})?(?:@sha(?:256|512):[0-9a-f]{64,128})?$`,
);
const TAGGED = /:[^/]*$/;
const PLATFORM = /^[a-z0-9][a-z0-9._-]*(?:\/[a-z0-9][a-z0-9._-]*){1,2}$/i;

const imageFault = { error: "expected an image as Docker writes it, such as alpine:3.20 or ghcr.io/owner/app:1.2" };
const imagesDoc = {
  doc: "Images, as Docker writes them; without a tag it is latest.",
  default: [],
  example: ["alpine:3.20", "ghcr.io/owner/app:1.2"],
};
const platformFault = { error: "expected a platform, such as linux/amd64 or linux/arm64/v8" };
const platformsDoc = {
  doc: "Platforms to fetch; none = all that an image has.",
  default: [],
  example: ["linux/amd64"],
};

const job = section("", {
  images: z
    .array(z.string(imageFault).max(512, imageFault).regex(IMAGE, imageFault), { error: "expected a list of images" })
    .max(1000)
    .default([])
    .register(keyDocs, imagesDoc),
  platforms: z
    .array(z.string(platformFault).max(100, platformFault).regex(PLATFORM, platformFault), {
      error: "expected a list of platforms",
    })
    .max(50)
    .default([])
    .register(keyDocs, platformsDoc),
  allTags: text("All tags of the images that match, * and ? being any text and any character.", "3.*"),
  schedule: cron("When: a cron expression in local time.", null, "0 6 * * *"),
}).superRefine((value, context) => {
  const { images, allTags, schedule } = asRecord(value);
  const fault = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
  const named = Array.isArray(images) ? images : undefined;
  if (named?.length === 0) fault("images", "expected at least one image");
  if (schedule === null) fault("schedule", 'expected when, such as "0 6 * * *" for every day at 6:00');
  const hasTag = named?.some((image) => typeof image === "string" && TAGGED.test(image));
  if (hasTag === true && typeof allTags === "string") fault("allTags", "needs images without tags and digests");
}, ALWAYS);

export const warm = z
  .array(job, { error: "expected a list of {images, schedule}" })
  .max(100)
  .default([])
  .register(keyDocs, {
    doc: 'Images to fetch ahead of demand, each {images, platforms, allTags, schedule: "0 6 * * *"}; one at a time.',
    default: [],
  });
