/**
 * What `wharfinger doctor` can be told.
 */
import { existsSync, statSync } from "node:fs";
import type { Argv } from "yargs";
import type { ImageName } from "../load/place.ts";
import { type Given, invalid, OUTPUT_FLAGS, type Outputs, readCertificate, readOutputs, word } from "./flags.ts";

export interface DoctorRequest extends Outputs {
  readonly url: URL;
  readonly file: string | undefined;
  readonly image: ImageName | undefined;
  readonly admin: URL | undefined;
  readonly root: string;
  /** PEM text. */
  readonly ca: string | undefined;
  readonly quiet: boolean;
}

export const DOCTOR_COMMAND = "doctor [url]";
export const DOCTOR_SUMMARY = "Look at a mirror from the side of its clients, and say what keeps them from using it";

export function doctorFlags(command: Argv): Argv {
  const text = (describe: string) => ({ type: "string", requiresArg: true, describe }) as const;
  return command
    .usage(
      `$0 doctor URL\n\n${DOCTOR_SUMMARY}.\n\nAsks the mirror, and reads what this machine's Docker, containerd, podman, BuildKit and k3s are told. Changes nothing.`,
    )
    .positional("url", { type: "string", describe: "The mirror, as clients reach it: http://mirror.example:5000" })
    .options({
      image: text("Try this image by HEAD in every form, such as docker.io/library/alpine:3"),
      admin: text("Where the mirror's admin API is: http://127.0.0.1:5001"),
      config: text("On the mirror's machine: its configuration file, to look at its disk as well"),
      root: text("Directory that the daemons' files are below, instead of /"),
      ca: text("Certificate (PEM file) to trust besides the usual ones"),
      ...OUTPUT_FLAGS,
    })
    .example("$0 doctor http://mirror.example:5000", "From a machine that should use the mirror")
    .example("$0 doctor http://mirror.example:5000 --image ghcr.io/owner/app:1", "Does this very image come?")
    .example("$0 doctor http://127.0.0.1:5000 --config wharfinger.yaml --admin http://127.0.0.1:5001", "On its machine")
    .example("$0 doctor http://10.0.0.5:5000 --root /mnt/node --json", "Another machine's files; for scripts")
    .epilogue(
      "Exit codes: 0 nothing failed (there may be warnings), 1 something failed, 2 bad usage or configuration.",
    );
}

/** @throws Failure `invalid` */
export async function readDoctor(given: Given): Promise<DoctorRequest> {
  const { parseImageName } = await import("../load/place.ts");
  const words = Array.isArray(given["_"]) ? given["_"].map(String) : [];
  if (words[1] !== undefined) throw invalid(words[1].slice(0, 100), "unknown argument");
  const image = word("image", given);
  const admin = word("admin", given);
  return {
    url: readUrl("URL", given["url"]),
    file: word("config", given),
    image: image === undefined ? undefined : parseImageName(image),
    admin: admin === undefined ? undefined : readUrl("--admin", admin),
    root: readDirectory("--root", word("root", given) ?? "/"),
    ca: readCertificate(word("ca", given)),
    quiet: given["quiet"] === true,
    ...readOutputs(given),
  };
}

function readUrl(what: string, value: unknown): URL {
  const url = typeof value === "string" ? URL.parse(value) : null;
  const plain = url !== null && url.search === "" && url.hash === "" && url.username === "" && url.password === "";
  if (url !== null && plain && /^https?:$/.test(url.protocol) && url.host !== "") return url;
  throw invalid(what, "expected http://host:port or https://host, such as http://127.0.0.1:5000");
}

function readDirectory(flag: string, path: string): string {
  if (existsSync(path) && statSync(path).isDirectory()) return path;
  throw invalid(flag, `there is no directory ${path.slice(0, 200)}`);
}
