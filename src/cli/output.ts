/**
 * Where a command's result goes: text and JSON, each into its file, or one of them to standard output.
 */
import { writeFileSync } from "node:fs";
import { Failure, messageOf } from "../base/failure.ts";
import type { Outputs } from "./flags.ts";
import type { World } from "./world.ts";

/** @throws Failure `storage` where a file cannot be written. */
export function writeDocuments(
  { json, output }: Outputs,
  documents: { readonly text: string; readonly json: object },
  { stdout }: Pick<World, "stdout">,
): void {
  if (json !== undefined) {
    const asJson = `${JSON.stringify(documents.json, undefined, 2)}\n`;
    if (json === "-") stdout.write(asJson);
    else writeTo(json, asJson);
  }
  if (output !== undefined && output !== "-") writeTo(output, documents.text);
  // Standard output is one document or the other.
  else if (json !== "-") stdout.write(documents.text);
}

/** @throws Failure `storage` */
export function writeTo(file: string | undefined, text: string): void {
  write(file, text, "w", "storage");
}

/** Before work that would be in vain. @throws Failure `invalid` for a file that cannot be written. */
export function tryFile(file: string | undefined): void {
  write(file, "", "a", "invalid");
}

function write(file: string | undefined, text: string, flag: "a" | "w", kind: "invalid" | "storage"): void {
  if (file === undefined || file === "-") return;
  try {
    writeFileSync(file, text, { flag });
  } catch (error) {
    throw new Failure(kind, `cannot write the report: ${messageOf(error)}`);
  }
}
