/**
 * What a command touches outside itself, so that tests own it: streams, environment, signals, the mirror.
 */
import { hostname } from "node:os";
import type { Api } from "../api/dispatch.ts";
import type { Config } from "../config/schema.ts";
import type { ListenAddress } from "../config/units.ts";
import type { Recovery } from "../meta/recovery.ts";
import type { Answer } from "./question.ts";

/** A mirror as the command line sees it. */
export interface RunningMirror {
  /** The admin API, to be asked whether the mirror listens or not. */
  readonly api?: Pick<Api, "answer">;
  /** How the index came to be another one than was left. */
  readonly recovery?: Recovery | undefined;
  /** Resolves when both listeners are bound. */
  start(): Promise<{ readonly registry: ListenAddress; readonly admin: ListenAddress }>;
  /** Lets running answers finish, for `graceMs` at most, then ends them. */
  stop(options?: { readonly graceMs?: number }): Promise<void>;
}

/** @param options `log` false: nothing is written to standard output. */
export type CreateMirror = (config: Config, options?: { readonly log?: boolean }) => Promise<RunningMirror>;

export interface Output {
  write(text: string): unknown;
  /** A terminal, and how wide it is. */
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export type StopSignal = "SIGTERM" | "SIGINT";

export interface World {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly version: string;
  readonly hostName: string;
  /** Loaded when it is needed: `--help` and a faulty configuration need no mirror. */
  loadMirror(): Promise<CreateMirror>;
  /** Asks whoever sits at the terminal; undefined where nobody does. */
  ask?(question: string): Promise<Answer | undefined>;
  /** Calls back at every such signal until the returned function is called. */
  onSignal(listener: (signal: StopSignal) => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
}

export function processWorld(version: string): World {
  return {
    env: process.env,
    stdout: process.stdout,
    stderr: process.stderr,
    version,
    hostName: hostname(),
    async loadMirror() {
      const { createMirror } = await import("../app.ts");
      return (config, options) => createMirror(config, { version, ...options });
    },
    async ask(question) {
      if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
      const { askAt } = await import("./question.ts");
      return askAt(process.stdin, process.stderr, question);
    },
    onSignal(listener) {
      process.on("SIGTERM", listener);
      process.on("SIGINT", listener);
      return () => {
        process.off("SIGTERM", listener);
        process.off("SIGINT", listener);
      };
    },
    exit: (code) => process.exit(code),
  };
}
