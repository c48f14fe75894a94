/**
 * `wharfinger pin` and `wharfinger unpin`: what never leaves, however full the cache is.
 */
import type { Argv } from "yargs";
import type { PinAnswer } from "../api/pins.ts";
import type { Command } from "./command.ts";
import { type AtDesk, type DeskCommand, deskFlags, runAtDesk } from "./desk-command.ts";
import { EXIT } from "./exit.ts";
import { type Given, invalid, word } from "./flags.ts";
import { gridText } from "./grid.ts";
import { plain, spanText } from "./wording.ts";

interface PinRequest {
  readonly references: readonly string[];
  readonly platforms: readonly string[];
}

const SUMMARY = "Keep images, whatever room is needed; without one: list what is pinned";
const PAGE = 1000;

export const pinCommand: Command = {
  usage: "pin [refs..]",
  summary: SUMMARY,
  flags,
  run: (given, world) => runAtDesk(COMMAND, given, world),
  json: "alone before words",
};

const COMMAND: DeskCommand<PinRequest> = { name: "pin", use: "look", read, run };

function flags(command: Argv): Argv {
  const described = command
    .usage(
      `$0 pin [REF..] [--platform linux/amd64]\n\n${SUMMARY}.\n\nA pin on a tag follows the tag: what it names now, and later.`,
    )
    .positional("refs", {
      type: "string",
      array: true,
      describe: "Images as Docker writes them: alpine:3.20, ghcr.io/owner/app@sha256:…",
    })
    .options({
      platform: {
        type: "string",
        requiresArg: true,
        describe: "Only these of the image's platforms: linux/amd64,linux/arm64 (default: all)",
      },
    })
    .example("$0 pin alpine:3.20 ghcr.io/owner/app:stable", "These stay")
    .example("$0 pin node:22 --platform linux/amd64", "One platform stays, the others may leave")
    .example("$0 pin", "What is pinned")
    .epilogue("What is not cached yet is pinned for when it comes; `wharfinger warm` fetches it.");
  return deskFlags(described);
}

/** The words of a command that takes references. */
export function readReferences(given: Given): readonly string[] {
  const { refs } = given;
  return Array.isArray(refs) ? refs.map(String).filter((text) => text !== "") : [];
}

function read(given: Given): PinRequest {
  const references = readReferences(given);
  const platform = word("platform", given);
  if (platform !== undefined && references.length === 0) throw invalid("--platform", "of which image?");
  return { references, platforms: platform === undefined ? [] : platform.split(",") };
}

async function run({ references, platforms }: PinRequest, { desk, world, quiet, write }: AtDesk): Promise<number> {
  if (references.length === 0) {
    const all = await listPins(desk);
    write({ text: pinsText(all, quiet), json: { format: "wharfinger-pins/1", pins: all } });
    return EXIT.done;
  }
  const pins: PinAnswer[] = [];
  const before = platforms.length > 0 ? [] : (await listPins(desk)).filter((pin) => pin.platforms.length > 0);
  for (const reference of references) {
    pins.push((await desk.call("PUT", "/api/v1/pins", { reference, platforms })) as PinAnswer);
  }
  for (const pin of pins) {
    const earlier = before.find(({ reference }) => reference === pin.reference);
    if (earlier !== undefined) {
      const was = plain(earlier.platforms.join(", "));
      world.stderr.write(`wharfinger: ${plain(pin.reference)} was pinned for ${was}: it is for all platforms now\n`);
    }
    if (pin.cached && pin.missing === 0) continue;
    const name = plain(pin.reference);
    const says = pin.cached
      ? `${pin.missing} of the manifests and layers of ${name} are not cached yet; they stay when they come`
      : `nothing is cached of ${name} yet; it stays when it comes`;
    world.stderr.write(`wharfinger: ${says}: wharfinger warm ${name}\n`);
  }
  const text = quiet ? "" : pins.map((pin) => `pinned ${plain(pin.reference)}${platformsText(pin)}\n`).join("");
  write({ text, json: { format: "wharfinger-pins/1", pins } });
  return EXIT.done;
}

async function listPins(desk: AtDesk["desk"]): Promise<PinAnswer[]> {
  const all: PinAnswer[] = [];
  for (;;) {
    const after = all.at(-1)?.reference;
    const { pins } = (await desk.call("GET", "/api/v1/pins", { limit: PAGE, after })) as { pins: PinAnswer[] };
    all.push(...pins);
    if (pins.length < PAGE) return all;
  }
}

function pinsText(pins: readonly PinAnswer[], quiet: boolean): string {
  if (pins.length === 0) return quiet ? "" : "nothing is pinned\n";
  const columns = [
    { title: "IMAGE" },
    { title: "PLATFORMS" },
    { title: "PINNED", align: "right" as const },
    { title: "CACHED" },
  ];
  const rows = pins.map(({ reference, platforms, pinnedAt, cached, missing }) => [
    reference,
    platforms.length === 0 ? "all" : platforms.join(","),
    spanText(Math.max(0, Date.now() - Date.parse(pinnedAt))),
    !cached ? "not yet" : missing > 0 ? "partly" : "yes",
  ]);
  return gridText(columns, rows, { heads: !quiet });
}

function platformsText({ platforms }: PinAnswer): string {
  return platforms.length === 0 ? "" : ` (${plain(platforms.join(", "))})`;
}
