/**
 * The command line: what can be said, in words and flags, and which command it leads to.
 *
 * The flags of settings are made from the configuration's schema. Their values are checked by the loader, together with
 * the file and the environment, so that one run names every fault.
 */
import { readFileSync } from "node:fs";
import yargs, { type Argv } from "yargs";
import { messageOf } from "../base/failure.ts";
import { COMMANDS, nameOf } from "./commands.ts";
import { EXIT } from "./exit.ts";
import { withJsonAlone } from "./flags.ts";
import { examplesBelow, helpWidth, ownFlagsFirst } from "./help.ts";
import { type ServeRequest, serve } from "./serve.ts";
import { listSettings, readSettings, settingFlags } from "./setting-flags.ts";
import { processWorld, type World } from "./world.ts";

/** @returns the exit code */
export async function run(args: readonly string[], world: World = processWorld(packageVersion())): Promise<number> {
  let command: (() => Promise<number>) | undefined;
  const parser = commandLine(world, (chosen) => {
    command = chosen;
  });
  const { json } = COMMANDS.find((one) => nameOf(one) === args[0]) ?? {};
  const said = await parse(parser, json === undefined ? args : withJsonAlone(args, json === "alone before words"));
  if (said.fault !== undefined) {
    return refuse(said.fault, world, args[0]);
  }
  if (said.output !== "") {
    world.stdout.write(`${said.output}\n`);
    return EXIT.done;
  }
  return command === undefined ? EXIT.done : command();
}

function refuse(fault: string, world: World, command = ""): number {
  const of = COMMANDS.some((one) => nameOf(one) === command) ? ` ${command}` : "";
  world.stderr.write(`wharfinger: ${fault}\nwharfinger${of} --help says what can be given\n`);
  return EXIT.badUsage;
}

/** What yargs found wrong, or has to say itself (`--help`, `--version`); it never prints or ends the process. */
function parse(
  parser: ReturnType<typeof commandLine>,
  args: readonly string[],
): Promise<{ readonly fault: string | undefined; readonly output: string }> {
  return new Promise((resolve) => {
    const refuse = (error: unknown) => resolve({ fault: messageOf(error), output: "" });
    try {
      // Some faults come by callback and some are thrown.
      const parsed: unknown = parser.parse(
        [...args],
        {},
        (error: Error | null | undefined, _: unknown, output: string) => {
          resolve({ fault: error?.message, output });
        },
      );
      Promise.resolve(parsed).catch(refuse);
    } catch (error) {
      refuse(error);
    }
  });
}

function commandLine(world: World, choose: (command: () => Promise<number>) => void) {
  const leaves = listSettings();
  const parser = examplesBelow(yargs())
    .scriptName("wharfinger")
    .usage("$0 [serve] [--config FILE]\n\nA caching pull-through mirror for container registries.")
    .parserConfiguration({
      "camel-case-expansion": false,
      "dot-notation": false,
      "parse-numbers": false,
      "parse-positional-numbers": false,
    })
    .command(
      ["serve", "$0"],
      "Serve the mirror; the default command",
      (command) => {
        command.option("config", { type: "string", requiresArg: true, describe: "Configuration file (YAML)" });
        return settingFlags(command, leaves, "Settings, before environment and file:");
      },
      (given: Readonly<Record<string, unknown>>) => {
        const request: ServeRequest = { file: fileOf(given.config), flags: readSettings(given, leaves) };
        const fault = usageFaultOf(given);
        choose(async () => (fault === undefined ? serve(request, world) : refuse(fault, world)));
      },
    )
    .example("$0", "Docker Hub, GHCR, Quay and other public registries on 127.0.0.1:5000, cache in ./data")
    .example("$0 --config wharfinger.yaml", "What the file says; see config.example.yaml")
    .example("$0 --listen 0.0.0.0:5000 --cache-max-size 80%", "Settings without a file")
    .example("WHARFINGER_LOG_FORMAT=pretty $0", "Every flag has an environment variable")
    .epilogue(
      "Exit codes: 0 done, 1 failed at run time, 2 bad usage or configuration, 3 asked-for thing not found, 4 refused.",
    )
    .strict()
    .version(world.version)
    .help()
    .group(["help", "version"], "Help:")
    .wrap(helpWidth(world.stdout))
    .exitProcess(false);
  for (const { usage, summary, flags, run } of COMMANDS) {
    const described = (command: Argv) => flags(ownFlagsFirst(command));
    parser.command(usage, summary, described, (given: Readonly<Record<string, unknown>>) => {
      choose(() => run(given, world));
    });
  }
  return parser;
}

function fileOf(config: unknown): string | undefined {
  return typeof config === "string" ? config : undefined;
}

/**
 * What is wrong with words and with `--config`; the settings are the loader's. After "--" everything is a word, and yargs
 * looks at none of those.
 */
function usageFaultOf(given: Readonly<Record<string, unknown>>): string | undefined {
  const words = Array.isArray(given._) ? given._.map(String) : [];
  const [extra] = words[0] === "serve" ? words.slice(1) : words;
  if (extra !== undefined) return `unknown argument: ${extra}`;
  const { config } = given;
  if (config === undefined) return undefined;
  if (Array.isArray(config)) return "--config: given more than once";
  if (typeof config !== "string") return "--no-config: leave --config out instead";
  return config === "" ? "--config: expected the name of a file" : undefined;
}

function packageVersion(): string {
  const described: unknown = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  const hasVersion = typeof described === "object" && described !== null && "version" in described;
  return hasVersion ? String(described.version) : "unknown";
}
