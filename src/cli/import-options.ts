/**
 * What `wharfinger import` can be given.
 */
import type { Argv } from "yargs";
import { type Given, word } from "./flags.ts";

export interface ImportRequest {
  readonly source: string;
  readonly as: string | undefined;
  readonly verifyKey: string | undefined;
}

export const IMPORT_COMMAND = "import <source>";
export const IMPORT_SUMMARY =
  "Take images into the store that were brought here: a bundle, an OCI layout, or what docker save wrote";

/** @param command with what all commands at the desk have. */
export function describeImport(command: Argv): Argv {
  return (
    command
      .usage(`$0 import FILE|DIRECTORY|- [--config FILE]\n\n${IMPORT_SUMMARY}.`)
      // Of no type: a "-" that is to be a string is lost (yargs), else it is `true`.
      .positional("source", { describe: "An archive (tar, also with gzip or zstd), a directory, or -" })
      .options({
        as: {
          type: "string",
          requiresArg: true,
          describe: "The repository of images that have a tag alone for a name",
        },
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
      )
  );
}

export function readImport(given: Given): ImportRequest {
  const source = given["source"] === true ? "-" : (word("source", given) ?? "");
  return { source, as: word("as", given), verifyKey: word("verify-key", given) };
}
