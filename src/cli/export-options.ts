/**
 * What `wharfinger export` can be given.
 */
import type { Argv } from "yargs";
import { type Given, invalid, word } from "./flags.ts";
import { words } from "./words.ts";

export interface ExportRequest {
  readonly references: readonly string[];
  readonly file: string | undefined;
  readonly platforms: readonly string[];
  readonly output: string | undefined;
  readonly json: string | undefined;
  readonly since: string | undefined;
  readonly have: string | undefined;
  readonly signKey: string | undefined;
  readonly inventory: boolean;
}

export const EXPORT_COMMAND = "export [references..]";
export const EXPORT_SUMMARY = "Write stored images into a bundle for a site without a network";

/** @param command with what all commands at the desk have. */
export function describeExport(command: Argv): Argv {
  return command
    .usage(`$0 export REFERENCE… -o FILE.tar|DIRECTORY [--config FILE]\n\n${EXPORT_SUMMARY}: an OCI image layout.`)
    .positional("references", { type: "string", array: true, describe: "Images, as Docker writes them" })
    .options({
      output: {
        type: "string",
        requiresArg: true,
        describe: "NAME.tar, a directory, or - for standard output",
      },
      file: { type: "string", requiresArg: true, describe: "More references, one a line; - is standard input" },
      platform: { type: "string", requiresArg: true, describe: "Only these: linux/amd64,linux/arm64" },
      since: {
        type: "string",
        requiresArg: true,
        describe: "Leave out what this earlier bundle, or its contents, lists",
      },
      have: { type: "string", requiresArg: true, describe: "Leave out what this list of digests names (--inventory)" },
      "sign-key": {
        type: "string",
        requiresArg: true,
        describe: "Private Ed25519 key (PEM) to sign the contents with",
      },
      inventory: {
        type: "boolean",
        default: false,
        describe: "Write the digests of all that is stored, and no bundle",
      },
    })
    .example("$0 export alpine:3.20 ghcr.io/org/app:v2 -o ship.tar", "Everything these two need")
    .example("$0 export --file images.txt -o next.tar --since ship.tar", "Only what is new since then")
    .example(
      "$0 export alpine --platform linux/amd64 -o layout/",
      "skopeo inspect oci:layout:docker.io/library/alpine:latest",
    )
    .example("$0 export --inventory -o have.json", "On the other side; then, on this one: --have have.json")
    .example("openssl genpkey -algorithm ed25519 -out key.pem", "A key for --sign-key")
    .epilogue("Exit codes: 0 written, 1 failed, 2 bad usage, 3 something is not stored whole (it says what to warm).");
}

export function readExport(given: Given): ExportRequest {
  const platform = word("platform", given);
  const request: ExportRequest = {
    references: words(given["references"]),
    file: word("file", given),
    platforms: platform?.split(",").map((text) => text.trim()) ?? [],
    output: word("output", given),
    json: word("json", given),
    since: word("since", given),
    have: word("have", given),
    signKey: word("sign-key", given),
    inventory: given["inventory"] === true,
  };
  if (request.inventory) return request;
  if (request.output === undefined) throw invalid("--output", "where should the bundle be written?");
  if (request.output === "-" && request.json === "-") {
    throw invalid("--json", "standard output is the bundle's (-o -): name a file");
  }
  if (/\.(?:tgz|tar\.\w+)$/.test(request.output)) {
    throw invalid("--output", "layers are compressed already: expected NAME.tar, a directory, or -");
  }
  if (request.references.length === 0 && request.file === undefined) {
    throw invalid("export", "name what to export, or give --file");
  }
  return request;
}
