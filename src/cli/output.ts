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
  const asJson = `${JSON.stringify(documents.json, undefined, 2)}\n`;
  if (json === "-") stdout.write(asJson);
  else if (json !== undefined) writeTo(json, asJson);
  if (output !== undefined && output !== "-") writeTo(output, documents.text);
  // Standard output is one document or the other.
  else if (json !== "-") stdout.write(documents.text);
}

function writeTo(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new Failure("storage", `cannot write the result: ${messageOf(error)}`);
  }
}
