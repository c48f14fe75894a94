/**
 * `wharfinger import`: a bundle, an OCI image layout or an archive of `docker save` into the store.
 */
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { Argv } from "yargs";
import type { ImportDone } from "../api/bundles.ts";
import { systemClock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import { packDirectory } from "../bundle/directory.ts";
import { parsePublicKey } from "../bundle/signature.ts";
import { bytesText } from "../load/wording.ts";
import type { Command } from "./command.ts";
import { type AtDesk, type DeskCommand, deskFlags, runAtDesk } from "./desk-command.ts";
import { memberOf } from "./desk-talk.ts";
import { EXIT } from "./exit.ts";
import { type Given, invalid, word } from "./flags.ts";
import { Progress } from "./progress.ts";
import { SIGNAL_EXIT, watchSignals } from "./signals.ts";
import { plain } from "./wording.ts";
import type { StopSignal } from "./world.ts";

interface ImportRequest {
  readonly source: string;
  readonly as: string | undefined;
  readonly verifyKey: string | undefined;
}

const SUMMARY = "Take images into the store that were brought here: a bundle, an OCI layout, or what docker save wrote";

export const importCommand: Command = {
  usage: "import <source>",
  summary: SUMMARY,
  flags,
  run: (given, world) => runAtDesk(COMMAND, given, world),
  json: "alone before words",
};

const COMMAND: DeskCommand<ImportRequest> = { name: "import", use: "work", read, run };

function flags(command: Argv): Argv {
  return deskFlags(command)
    .usage(`$0 import FILE|DIRECTORY|- [--config FILE]\n\n${SUMMARY}.`)
    .positional("source", { type: "string", describe: "An archive (tar, also with gzip or zstd), a directory, or -" })
    .options({
      as: { type: "string", requiresArg: true, describe: "The repository of images that have a tag alone for a name" },
      "verify-key": {
        type: "string",
        requiresArg: true,
        describe: "Public Ed25519 key (PEM): nothing is taken that is not signed by it",
      },
    })
    .example("$0 import ship.tar --verify-key public.pem", "From the other side, signed there")
    .example("zstdcat ship.tar.zst | $0 import -", "From standard input")
    .example("$0 import layout/ --as registry.example.com/team/app", "A layout that names its image 'v2' alone")
    .example("docker save alpine:3.20 | $0 import -", "Out of a Docker daemon")
    .epilogue(
      "Every byte is verified. What is stored already is passed over, so the same import may be begun again at any time. " +
        "Exit codes: 0 all of it is here, 1 failed, 2 bad usage, 3 it needs an earlier bundle, 4 not signed by the key.",
    );
}

function read(given: Given): ImportRequest {
  return { source: word("source", given) ?? "", as: word("as", given), verifyKey: word("verify-key", given) };
}

async function run({ source, as, verifyKey }: ImportRequest, { desk, world, quiet, write }: AtDesk): Promise<number> {
  const key = verifyKey === undefined ? undefined : await readKey(verifyKey);
  const body = await openSource(source);
  const progress = new Progress(world.stderr, { clock: systemClock, quiet });
  const abort = new AbortController();
  let stoppedBy: StopSignal | undefined;
  const unwatch = watchSignals(world, (signal) => {
    stoppedBy = signal;
    abort.abort(new Failure("overloaded", "stopped"));
  });
  let done: ImportDone | undefined;
  try {
    for await (const event of desk.events("/api/v1/import", { as, verifyKey: key }, { body, signal: abort.signal })) {
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

async function openSource(source: string): Promise<Readable> {
  if (source === "-") return process.stdin;
  try {
    if ((await stat(source)).isDirectory()) return await packDirectory(source);
  } catch (error) {
    throw error instanceof Failure ? error : new Failure("unknown", `${source}: ${messageOf(error)}`);
  }
  return createReadStream(source, { highWaterMark: 256 * 1024 });
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
