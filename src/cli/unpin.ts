/**
 * `wharfinger unpin`: what was pinned may leave again when room is needed.
 */
import type { Argv } from "yargs";
import type { Command } from "./command.ts";
import { type AtDesk, type DeskCommand, deskFlags, runAtDesk } from "./desk-command.ts";
import { EXIT } from "./exit.ts";
import { readReferences } from "./pin.ts";
import { plain } from "./wording.ts";

const SUMMARY = "Let images that were pinned leave when room is needed";

export const unpinCommand: Command = {
  usage: "unpin <refs..>",
  summary: SUMMARY,
  flags,
  run: (given, world) => runAtDesk(COMMAND, given, world),
  json: "alone before words",
};

const COMMAND: DeskCommand<readonly string[]> = { name: "unpin", use: "look", read: readReferences, run };

function flags(command: Argv): Argv {
  const described = command
    .usage(`$0 unpin REF..\n\n${SUMMARY}. Nothing is removed at once.`)
    .positional("refs", { type: "string", array: true, describe: "As they were pinned; `wharfinger pin` lists them" })
    .example("$0 unpin alpine:3.20", "It may leave")
    .epilogue("Exit codes: 0 done, 3 one was not pinned.");
  return deskFlags(described);
}

async function run(references: readonly string[], { desk, quiet, write }: AtDesk): Promise<number> {
  const unpinned: string[] = [];
  for (const reference of references) {
    const answer = (await desk.call("DELETE", "/api/v1/pins", { reference })) as { reference: string };
    unpinned.push(answer.reference);
  }
  const text = quiet ? "" : unpinned.map((reference) => `unpinned ${plain(reference)}\n`).join("");
  write({ text, json: { format: "wharfinger-unpin/1", unpinned } });
  return EXIT.done;
}
