/**
 * `wharfinger import`: a bundle, an OCI image layout or an archive of `docker save` into the store.
 */
import { once } from "node:events";
import { createReadStream, type Stats } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { ImportDone } from "../api/bundles.ts";
import { systemClock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import { packDirectory } from "../bundle/directory.ts";
import { parsePublicKey } from "../bundle/signature.ts";
import { bytesText } from "../config/figures.ts";
import type { AtDesk, DeskCommand } from "./desk-command.ts";
import { memberOf } from "./desk-talk.ts";
import { EXIT } from "./exit.ts";
import { invalid } from "./flags.ts";
import { type ImportRequest, readImport } from "./import-options.ts";
import { Progress } from "./progress.ts";
import { SIGNAL_EXIT, watchSignals } from "./signals.ts";
import { plain } from "./wording.ts";
import type { StopSignal } from "./world.ts";

export const IMPORT: DeskCommand<ImportRequest> = { name: "import", use: "work", read: readImport, run };

async function run({ source, as, verifyKey }: ImportRequest, { desk, world, quiet, write }: AtDesk): Promise<number> {
  const key = verifyKey === undefined ? undefined : await readKey(verifyKey);
  const { body, sizeBytes: archiveBytes } = await openSource(source);
  const progress = new Progress(world.stderr, { clock: systemClock, quiet });
  const abort = new AbortController();
  let stoppedBy: StopSignal | undefined;
  const unwatch = watchSignals(world, (signal) => {
    stoppedBy = signal;
    abort.abort(new Failure("overloaded", "stopped"));
  });
  let done: ImportDone | undefined;
  try {
    for await (const event of desk.events(
      "/api/v1/import",
      { as, verifyKey: key, archiveBytes },
      { body, signal: abort.signal },
    )) {
      if (event.event === "done") done = event["result"] as ImportDone;
      if (event.event !== "progress") continue;
      const total = memberOf(event, "totalBytes");
      progress.total({
        label: source === "-" ? "archive" : source,
        done: Number(memberOf(event, "readBytes")),
        total: typeof total === "number" ? total : undefined,
      });
    }
  } catch (error) {
    if (stoppedBy === undefined) throw error;
    progress.end();
    world.stderr.write("wharfinger: stopped; the same import takes up what is missing\n");
    return SIGNAL_EXIT[stoppedBy];
  } finally {
    unwatch();
    progress.end();
    body.destroy();
  }
  if (done === undefined) throw new Failure("unreachable", "the import ended without a result");
  const unserved = done.references.filter(({ served }) => !served).map(({ name }) => name);
  for (const name of unserved) {
    const upstream = name.slice(0, name.indexOf("/"));
    world.stderr.write(`wharfinger: ${plain(name)} is served once ${plain(upstream)} is configured under upstreams\n`);
  }
  for (const note of done.notes) world.stderr.write(`wharfinger: ${plain(note)}\n`);
  const json = { format: "wharfinger-import/1", ...done };
  write({ text: quiet ? "" : textOf(done), json });
  return EXIT.done;
}

function textOf({ signature, references, taken, knownBlobs, createdAt }: ImportDone): string {
  const signed =
    signature === "verified"
      ? "signed by the key"
      : signature === "none"
        ? "not signed"
        : "signed, and nobody checked by whom (--verify-key)";
  const known = knownBlobs === 0 ? "" : `, ${knownBlobs} were here already`;
  const when = createdAt === null ? "" : `, made ${createdAt}`;
  return [
    ...references.map(({ name, digest, tag }) => {
      const note = tag === "newer here" ? "  (kept as it is here: the upstream said so later)" : "";
      return `${plain(name)}  ${digest}${note}\n`;
    }),
    `${taken.blobs} pieces, ${bytesText(taken.bytes)}${known}; ${signed}${when}\n`,
  ].join("");
}

/** @returns the archive, and how large it is where that is known. */
async function openSource(source: string): Promise<{ body: Readable; sizeBytes: number | undefined }> {
  if (source === "-") {
    // Whoever writes it may take long to begin, and a mirror does not wait for ever.
    if (process.stdin.readableLength === 0) await once(process.stdin, "readable");
    return { body: process.stdin, sizeBytes: undefined };
  }
  let stats: Stats;
  try {
    stats = await stat(source);
    if (stats.isDirectory()) return await packDirectory(source);
  } catch (error) {
    throw error instanceof Failure ? error : invalid(source, messageOf(error));
  }
  const body = createReadStream(source, { highWaterMark: 256 * 1024 });
  return { body, sizeBytes: stats.isFile() ? stats.size : undefined };
}

async function readKey(file: string): Promise<string> {
  let pem: string;
  try {
    pem = await readFile(file, "utf8");
  } catch (error) {
    throw invalid("--verify-key", messageOf(error));
  }
  parsePublicKey(pem);
  return pem;
}
