/**
 * A question to whoever sits at a terminal, and what came of it: a line, or that he left without one.
 */
import { createInterface } from "node:readline";

/** What was typed; or: Ctrl-C was pressed, or there is no more to read (Ctrl-D). */
export type Answer = string | { readonly left: "interrupted" | "ended" };

export function askAt(
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
  question: string,
  terminal?: boolean,
): Promise<Answer> {
  const lines = createInterface({ input, output, ...(terminal === undefined ? {} : { terminal }) });
  return new Promise((resolve) => {
    const leave = (answer: Answer) => {
      resolve(answer);
      lines.close();
    };
    lines.once("SIGINT", () => leave({ left: "interrupted" }));
    lines.once("close", () => {
      // What is written next begins a line of its own.
      output.write("\n");
      resolve({ left: "ended" });
    });
    lines.question(question, (text) => {
      lines.removeAllListeners("close");
      leave(text);
    });
  });
}
