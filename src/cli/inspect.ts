/**
 * `wharfinger inspect`: one stored image from near.
 */
import type { Argv } from "yargs";
import type { Inspected } from "../api/image.ts";
import { sizeText } from "../config/units.ts";
import type { Command } from "./command.ts";
import { type AtDesk, type DeskCommand, deskFlags, runAtDesk } from "./desk-command.ts";
import { EXIT } from "./exit.ts";
import { type Given, invalid } from "./flags.ts";
import { gridText } from "./grid.ts";
import { columns, plain, spanText } from "./wording.ts";

const SUMMARY = "Show one image: platforms, layers and who else needs them, signatures, pins";

export const inspectCommand: Command = {
  usage: "inspect <ref>",
  summary: SUMMARY,
  flags,
  run: (given, world) => runAtDesk(COMMAND, given, world),
  json: "alone before words",
};

const COMMAND: DeskCommand<string> = { name: "inspect", use: "look", read, run };

function flags(command: Argv): Argv {
  const described = command
    .usage(`$0 inspect REF\n\n${SUMMARY}. Nobody is asked: this is what is stored.`)
    .positional("ref", { type: "string", describe: "As Docker writes it: alpine:3.20, ghcr.io/owner/app@sha256:…" })
    .example("$0 inspect alpine:3.20", "What is stored of it")
    .example("$0 inspect node:22 --json | jq '.platforms[] | select(.cached != \"whole\")'", "What is missing")
    .epilogue("Exit codes: 0 done, 3 it is not cached.");
  return deskFlags(described);
}

function read(given: Given): string {
  const { ref } = given;
  if (typeof ref === "string" && ref !== "") return ref;
  throw invalid("REF", "which image?");
}

async function run(reference: string, { desk, world, quiet, write }: AtDesk): Promise<number> {
  const found = (await desk.call("GET", "/api/v1/image", { reference })) as Inspected;
  const { isTTY, columns: wide } = world.stdout;
  const width = isTTY === true ? wide : undefined;
  const text = quiet ? "" : inspectText(found, { width, now: Date.now(), serving: desk.remote });
  write({ text, json: { format: "wharfinger-inspect/1", ...found } });
  return EXIT.done;
}

const SHORT_DIGEST = 19;

interface TextOptions {
  readonly width: number | undefined;
  readonly now: number;
  /** A mirror that runs was asked. */
  readonly serving: boolean;
}

export function inspectText(
  { reference, image, freshness, pins, platforms, layers, referrers, companions }: Inspected,
  { width, now, serving }: TextOptions,
): string {
  const since = (time: string) => `${spanText(Math.max(0, now - Date.parse(time)))} ago`;
  const others = pins.map(
    (pin) => `${pin.reference}${pin.platforms.length === 0 ? "" : ` (${pin.platforms.join(", ")})`}`,
  );
  const head = columns(
    [
      ["digest", image.digest],
      ["type", image.mediaType],
      ["tags", image.tags.length === 0 ? "none" : image.tags.join(", ")],
      ["size", `${sizeText(image.sizeBytes)}, of which ${sizeText(image.uniqueBytes)} would leave with it`],
      ["stored", since(image.storedAt)],
      ["used", `${since(image.lastUsedAt)}, ${image.hits} ${image.hits === 1 ? "hit" : "hits"}`],
      ...(freshness === null ? [] : [["tag", freshnessText(freshness, serving, since)] as const]),
      ["pinned", others.length === 0 ? "no" : others.join(", ")],
      ...(companions.length === 0 ? [] : [["cosign", companions.join(", ")] as const]),
    ].map(([name = "", says = ""]) => [name, plain(says)] as const),
    "  ",
  );
  const grid = (titles: readonly string[], rows: readonly (readonly string[])[], yields: string) =>
    gridText(
      titles.map((title) => ({
        title,
        yields: title === yields,
        ...(title === "SIZE" ? { align: "right" as const } : {}),
      })),
      rows,
      { width },
    );
  const parts = [
    `${plain(reference)}\n${head.join("\n")}\n`,
    grid(
      ["PLATFORM", "MANIFEST", "SIZE", "CACHED"],
      platforms.map(({ platform, digest, sizeBytes, cached, missingBytes }) => [
        platform ?? image.platforms[0] ?? "-",
        digest.slice(0, SHORT_DIGEST),
        sizeText(sizeBytes),
        cached === "partly" ? `partly, ${sizeText(missingBytes)} missing` : cached,
      ]),
      "PLATFORM",
    ),
    grid(
      ["LAYER", "SIZE", "CACHED", "ALSO USED BY"],
      layers.map(({ digest, sizeBytes, cached, users }) => [
        digest.slice(0, SHORT_DIGEST),
        sizeBytes < 0 ? "?" : sizeText(sizeBytes),
        cached ? "yes" : "no",
        users.join(", "),
      ]),
      "ALSO USED BY",
    ),
    ...(referrers.length === 0
      ? []
      : [
          grid(
            ["REFERRER", "SIZE", "KIND"],
            referrers.map(({ digest, sizeBytes, artifactType, mediaType }) => [
              digest.slice(0, SHORT_DIGEST),
              sizeText(sizeBytes),
              artifactType ?? mediaType,
            ]),
            "KIND",
          ),
        ]),
  ];
  return parts.join("\n");
}

const STATES: Readonly<Record<NonNullable<Inspected["freshness"]>["state"], string>> = {
  fresh: "fresh",
  refreshing: "served, and refreshed behind",
  stale: "the upstream is asked before it is served",
  expired: "too old to be served without the upstream",
  offline: "served as it is, offline",
};

function freshnessText(
  { state, checkedAt }: NonNullable<Inspected["freshness"]>,
  serving: boolean,
  since: (time: string) => string,
): string {
  // The store itself asks nobody: what a mirror on it would do is not known here.
  const served = state === "offline" && !serving ? "" : `${STATES[state]}; `;
  return `${served}confirmed ${since(checkedAt)}`;
}
