/**
 * `wharfinger export`: stored images into a bundle that travels, as one archive or as a directory.
 *
 * What is written gets its name when it is whole. A private key is used here and sent nowhere.
 */
import { randomBytes } from "node:crypto";
import { createWriteStream, existsSync, statSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { systemClock } from "../base/clock.ts";
import { Failure, isFailure, messageOf } from "../base/failure.ts";
import type { Contents } from "../bundle/contents.ts";
import { requireEmpty, unpackInto } from "../bundle/directory.ts";
import { readPossession } from "../bundle/inventory.ts";
import { nameText } from "../bundle/names.ts";
import { type PassedBundle, passBundle } from "../bundle/passing.ts";
import { parsePrivateKey } from "../bundle/signature.ts";
import { bytesText } from "../config/figures.ts";
import { digestOf } from "../oci/digest.ts";
import type { AtDesk, DeskCommand } from "./desk-command.ts";
import { EXIT } from "./exit.ts";
import { type ExportRequest, readExport } from "./export-options.ts";
import { invalid } from "./flags.ts";
import { writeDocuments } from "./output.ts";
import { Progress } from "./progress.ts";
import { SIGNAL_EXIT, watchSignals } from "./signals.ts";
import { readInput, referencesIn } from "./warm-options.ts";
import type { StopSignal } from "./world.ts";

/** So that the question stays below 16 MiB. */
const MAX_HAVE = 200_000;

export const EXPORT: DeskCommand<ExportRequest> = { name: "export", use: "look", read: readExport, run };

async function run(request: ExportRequest, at: AtDesk): Promise<number> {
  if (request.inventory) return await writeInventory(request, at);
  const { desk, world, quiet } = at;
  const output = request.output ?? "-";
  const kind = kindOf(output);
  if (kind === "directory") await requireEmpty(output);
  for (const base of [request.since, request.have]) refuseOverwriting(output, base);
  const key =
    request.signKey === undefined ? undefined : parsePrivateKey(await readText("--sign-key", request.signKey));
  const since = request.since === undefined ? undefined : await readPossession(request.since);
  const had = request.have === undefined ? undefined : await readPossession(request.have);
  const asked = {
    references: [...request.references, ...(await readList(request.file))],
    platforms: request.platforms,
    have: haveOf([...(since?.digests ?? []), ...(had?.digests ?? [])]),
    since: since?.contents ?? had?.contents,
  };
  const abort = new AbortController();
  let stoppedBy: StopSignal | undefined;
  const unwatch = watchSignals(world, (signal) => {
    stoppedBy = signal;
    abort.abort(new Failure("overloaded", "stopped"));
  });
  const progress = new Progress(world.stderr, { clock: systemClock, quiet });
  let bundle: PassedBundle;
  let done = 0;
  try {
    bundle = await passBundle(await desk.stream("/api/v1/export", asked, abort.signal), key);
    const { body, lengthBytes } = bundle;
    abort.signal.addEventListener("abort", () => body.destroy(new Failure("overloaded", "stopped")), { once: true });
    const meter = new Transform({
      transform(chunk: Buffer, _encoding, pass) {
        done += chunk.length;
        progress.total({ label: kind === "stdout" ? "bundle" : output, done, total: lengthBytes });
        pass(null, chunk);
      },
    });
    await write(kind, output, bundle, meter);
  } catch (error) {
    if (stoppedBy === undefined) throw error;
    world.stderr.write("wharfinger: stopped; nothing was written\n");
    return SIGNAL_EXIT[stoppedBy];
  } finally {
    unwatch();
    progress.end();
  }
  const json = resultOf(bundle.contents, {
    output,
    bytes: done,
    signed: key !== undefined,
    contents: bundle.contentsBytes,
  });
  const text = quiet ? "" : textOf(json);
  if (kind === "stdout") world.stderr.write(text);
  else writeDocuments({ json: request.json, output: undefined }, { text, json }, world);
  return EXIT.done;
}

/** What the other side has, one on each line. */
function haveOf(digests: readonly string[]): string {
  const unique = [...new Set(digests)];
  if (unique.length > MAX_HAVE) {
    throw invalid("--have", `there are ${unique.length} digests, and ${MAX_HAVE} at most can be left out by a list`);
  }
  return unique.join("\n");
}

/** What a difference was made to is needed wherever that has not arrived yet. @throws Failure `invalid` */
function refuseOverwriting(output: string, base: string | undefined): void {
  if (base === undefined || !existsSync(output) || !existsSync(base)) return;
  const [one, other] = [statSync(output), statSync(base)];
  if (one.dev !== other.dev || one.ino !== other.ino) return;
  throw invalid("--output", `${output} is what the bundle is a difference to, and would be lost: name another file`);
}

type Kind = "archive" | "directory" | "stdout";

function kindOf(output: string): Kind {
  if (output === "-") return "stdout";
  const isDirectory = existsSync(output) && statSync(output).isDirectory();
  return output.endsWith(".tar") && !isDirectory ? "archive" : "directory";
}

async function write(kind: Kind, output: string, { body }: PassedBundle, meter: Transform): Promise<void> {
  switch (kind) {
    case "stdout":
      return await pipeline(body, meter, process.stdout, { end: false });
    case "directory": {
      // What fails while it is read must not look like an end.
      body.on("error", (error) => meter.destroy(error));
      return await unpackInto(output, body.pipe(meter));
    }
    case "archive":
      return await writeArchive(output, body, meter);
  }
}

async function writeArchive(output: string, body: Readable, meter: Transform): Promise<void> {
  const partial = `${output}.${randomBytes(4).toString("hex")}.partial`;
  try {
    await pipeline(body, meter, createWriteStream(partial, { flags: "wx" }));
    const file = await open(partial, "r+");
    await file.datasync().finally(() => file.close());
    await rename(partial, output);
  } catch (error) {
    await rm(partial, { force: true });
    if (isFailure(error)) throw error;
    throw new Failure("storage", `cannot write ${output}: ${messageOf(error)}`, { cause: error });
  }
}

async function writeInventory({ output, json }: ExportRequest, { desk, world }: AtDesk): Promise<number> {
  const digests: string[] = [];
  let after: string | undefined = "";
  while (after !== undefined) {
    const page = (await desk.call("GET", "/api/v1/inventory", { after, limit: 50_000 })) as {
      digests: string[];
      next: string | null;
    };
    digests.push(...page.digests);
    after = page.next ?? undefined;
  }
  const target = output ?? json ?? "-";
  writeDocuments({ json: target, output: undefined }, { text: "", json: { digests } }, world);
  return EXIT.done;
}

interface ExportResult {
  readonly format: "wharfinger-export/1";
  readonly output: string;
  readonly bytes: number;
  readonly signed: boolean;
  readonly contents: string;
  readonly references: readonly { readonly name: string; readonly digest: string }[];
  readonly pieces: { readonly all: number; readonly carried: number; readonly carriedBytes: number };
}

function resultOf(
  { references, pieces }: Contents,
  { output, bytes, signed, contents }: { output: string; bytes: number; signed: boolean; contents: Buffer },
): ExportResult {
  const carried = pieces.filter((piece) => piece.carried);
  return {
    format: "wharfinger-export/1",
    ...{ output, bytes, signed },
    contents: digestOf(contents),
    references: references.map((one) => ({ name: nameText(one), digest: one.digest })),
    pieces: {
      all: pieces.length,
      carried: carried.length,
      carriedBytes: carried.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    },
  };
}

function textOf({ output, bytes, signed, references, pieces }: ExportResult): string {
  const left = pieces.all - pieces.carried;
  const rest = left === 0 ? "" : `, ${left} left out: the other side has them`;
  return [
    ...references.map(({ name, digest }) => `${name}  ${digest}\n`),
    `${output}: ${bytesText(bytes)}, ${pieces.carried} pieces${rest}; ${signed ? "signed" : "not signed"}\n`,
  ].join("");
}

async function readList(file: string | undefined): Promise<string[]> {
  if (file === undefined) return [];
  return referencesIn(file === "-" ? await readInput(process.stdin) : await readText("--file", file));
}

async function readText(flag: string, file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw invalid(flag, messageOf(error));
  }
}
