/**
 * `wharfinger ls`: what is stored, as images.
 */
import type { Argv } from "yargs";
import type { ImageAnswer, ImagesAnswer } from "../api/images.ts";
import { parseRegistryName } from "../config/registry-name.ts";
import { sizeText } from "../config/units.ts";
import type { Command } from "./command.ts";
import { type AtDesk, type DeskCommand, deskFlags, runAtDesk } from "./desk-command.ts";
import { EXIT } from "./exit.ts";
import { type Given, invalid, word } from "./flags.ts";
import { type Column, gridText } from "./grid.ts";
import { Foremost } from "./ls-order.ts";
import { spanText } from "./wording.ts";

interface LsRequest {
  readonly filter: Readonly<Record<string, string | undefined>>;
  readonly sort: string;
  readonly reverse: boolean;
  readonly limit: number;
  readonly digests: boolean;
}

const SUMMARY = "List the images that are stored";
const SORTS: readonly string[] = ["name", "size", "age", "used", "hits"];
const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1_000_000;
const PAGE = 1000;
/** Beyond it, other orders than that of names are made here. */
const FEW_PAGES = 3 * PAGE;

export const lsCommand: Command = {
  usage: "ls [pattern]",
  summary: SUMMARY,
  flags,
  run: (given, world) => runAtDesk(COMMAND, given, world),
  json: "alone before words",
};

const COMMAND: DeskCommand<LsRequest> = { name: "ls", use: "look", read, run: list };

function flags(command: Argv): Argv {
  const described = command
    .usage(`$0 ls [PATTERN] [--config FILE]\n\n${SUMMARY}, with what they take and how they are used.`)
    .positional("pattern", {
      type: "string",
      describe: "NAME, REGISTRY/NAME, NAME:TAG; * is any text in one component, ** any components",
    })
    .options({
      upstream: { type: "string", requiresArg: true, describe: "Of this upstream only" },
      sort: { type: "string", requiresArg: true, default: "name", describe: `By ${SORTS.join(", ")}` },
      reverse: { type: "boolean", default: false, describe: "The other way round" },
      limit: { type: "string", requiresArg: true, default: String(DEFAULT_LIMIT), describe: "How many at most" },
      digests: { type: "boolean", default: false, describe: "Show digests" },
    })
    .example("$0 ls", "Everything, by name")
    .example("$0 ls 'ghcr.io/org/**' --sort size", "The largest of one organisation first")
    .example("$0 ls nginx:1.*", "In whatever registry and namespace")
    .example("$0 ls --sort used --reverse --limit 20", "What nobody has used for longest")
    .example("$0 ls --json --limit 100000 | jq '.images[] | select(.pinned)'", "For scripts")
    .epilogue(
      "SIZE is what is stored of an image, OWN what would leave with it: the rest is shared with others.\nOn a narrow terminal HITS, STORED and PLATFORMS are left out, in this order.",
    );
  return deskFlags(described);
}

function read(given: Given): LsRequest {
  const sort = word("sort", given) ?? "name";
  if (!SORTS.includes(sort)) throw invalid("--sort", `expected one of ${SORTS.join(", ")}`);
  const text = word("limit", given) ?? "";
  const limit = /^\d{1,7}$/.test(text) ? Number(text) : 0;
  if (limit < 1 || limit > MAX_LIMIT) throw invalid("--limit", `expected a whole number from 1 to ${MAX_LIMIT}`);
  const pattern = given["pattern"];
  const filter = typeof pattern === "string" && pattern !== "" ? readPattern(pattern) : {};
  const upstream = word("upstream", given);
  return {
    filter: upstream === undefined ? filter : { ...filter, upstream: parseRegistryName(upstream) },
    ...{ sort, limit },
    reverse: given["reverse"] === true,
    digests: given["digests"] === true,
  };
}

/** What comes before the first slash is a registry where it looks like one, as in references. */
export function readPattern(pattern: string): LsRequest["filter"] {
  const colon = pattern.lastIndexOf(":");
  const tagged = colon > pattern.lastIndexOf("/");
  const name = tagged ? pattern.slice(0, colon) : pattern;
  const tag = tagged ? pattern.slice(colon + 1) : undefined;
  const slash = name.indexOf("/");
  const first = slash < 0 ? "" : name.slice(0, slash);
  const isRegistry = /[.:]/.test(first) && !first.includes("*");
  const repository = isRegistry ? name.slice(slash + 1) : name;
  return {
    ...(isRegistry ? { upstream: parseRegistryName(first) } : {}),
    ...(repository === "" || repository === "**" ? {} : { repository }),
    ...(tag === undefined || tag === "" ? {} : { tag }),
  };
}

async function list(request: LsRequest, { desk, world, quiet, write }: AtDesk): Promise<number> {
  const { filter, sort, reverse, limit, digests } = request;
  const isHere = limit > FEW_PAGES && (sort !== "name" || reverse);
  const order = isHere ? { sort: "name", reverse: false } : { sort, reverse };
  const foremost = new Foremost({ sort, reverse, limit });
  let page: ImagesAnswer;
  let cursor: string | undefined;
  let seen = 0;
  do {
    const input = { ...filter, ...order, limit: isHere ? PAGE : Math.min(PAGE, limit - seen), cursor };
    page = (await desk.call("GET", "/api/v1/images", input)) as ImagesAnswer;
    foremost.add(page.images);
    seen += page.images.length;
    cursor = page.next ?? undefined;
  } while (cursor !== undefined && (isHere || seen < limit));
  const { images, more: isCut } = foremost.end();
  const more = isCut || page.next !== null;
  const { isTTY, columns } = world.stdout;
  const width = isTTY === true ? columns : undefined;
  const json = { format: "wharfinger-ls/1", images, more, total: page.total };
  write({ text: lsText(json, { width, quiet, digests, now: Date.now() }), json });
  return EXIT.done;
}

interface TextOptions {
  readonly width: number | undefined;
  readonly quiet: boolean;
  readonly digests: boolean;
  readonly now: number;
}

const MAX_TAGS = 3;
const SHORT_DIGEST = 19;

export interface Listed {
  readonly images: readonly ImageAnswer[];
  /** There are others, beyond the limit. */
  readonly more: boolean;
  readonly total: ImagesAnswer["total"];
}

export function lsText({ images, more: isCut, total }: Listed, { width, quiet, digests, now }: TextOptions): string {
  const columns: readonly Column[] = [
    { title: "IMAGE", yields: true },
    { title: "TAGS", yields: true },
    ...(digests ? [{ title: "DIGEST" }] : []),
    { title: "PLATFORMS", yields: true, spare: true },
    { title: "SIZE", align: "right" },
    { title: "OWN", align: "right" },
    { title: "STORED", align: "right", spare: true },
    { title: "USED", align: "right" },
    { title: "HITS", align: "right", spare: true },
    { title: "PIN" },
  ];
  const rows = images.map((image) => [
    `${image.upstream}/${image.repository}`,
    tagsText(image),
    ...(digests ? [image.digest.slice(0, SHORT_DIGEST)] : []),
    image.platforms.join(","),
    sizeText(image.sizeBytes),
    sizeText(image.uniqueBytes),
    ageText(image.storedAt, now),
    ageText(image.lastUsedAt, now),
    String(image.hits),
    image.pinned ? "yes" : "",
  ]);
  const grid = rows.length === 0 ? "" : gridText(columns, rows, { width, heads: !quiet });
  if (quiet) return grid;
  const more = !isCut ? "" : ", and there are more (--limit)";
  const count = rows.length === 1 ? "1 image" : `${rows.length} images`;
  const stored = `stored in all: ${sizeText(total.sizeBytes)} in ${total.blobs} blobs`;
  return `${grid}${rows.length === 0 ? "" : "\n"}${count}${more}; ${stored}\n`;
}

function tagsText({ tags, digest }: ImageAnswer): string {
  if (tags.length === 0) return `@${digest.slice(0, SHORT_DIGEST)}`;
  const more = tags.length - MAX_TAGS;
  return `${tags.slice(0, MAX_TAGS).join(",")}${more > 0 ? ` +${more}` : ""}`;
}

function ageText(time: string, now: number): string {
  return spanText(Math.max(0, now - Date.parse(time)));
}
