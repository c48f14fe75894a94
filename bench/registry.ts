/**
 * docker-registry (distribution): the origin that is mirrored, or the pull-through proxy that does what we do.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../test/e2e/processes.ts";
import { get } from "../test/kit/http.ts";
import { Daemon } from "./daemon.ts";
import { needProgram } from "./programs.ts";
import { registryPaths, type Served } from "./served.ts";

export interface RegistryOptions {
  readonly name: string;
  readonly dir: string;
  /** Default: a directory of its own. */
  readonly root?: string;
  /** Pull through from there. */
  readonly remoteUrl?: string;
  readonly core?: number | undefined;
}

/** @throws MissingProgram. */
export async function startRegistry(options: RegistryOptions): Promise<Served> {
  const command = needProgram("docker-registry");
  const port = await freePort();
  const home = join(options.dir, options.name);
  await mkdir(home, { recursive: true });
  const config = {
    version: "0.1",
    log: { level: "error", accesslog: { disabled: options.remoteUrl !== undefined } },
    storage: { filesystem: { rootdirectory: options.root ?? home } },
    http: { addr: `127.0.0.1:${port}`, secret: "bench" },
    ...(options.remoteUrl === undefined ? {} : { proxy: { remoteurl: options.remoteUrl } }),
  };
  const file = join(home, "config.yml");
  // JSON is YAML.
  await writeFile(file, JSON.stringify(config));
  const { name, dir, core, remoteUrl } = options;
  const daemon = new Daemon({ name, dir, command, args: ["serve", file], core });
  await daemon.until(async () => (await get(`http://127.0.0.1:${port}/v2/`)).status === 200);
  const pullsThrough = remoteUrl !== undefined;
  return { ...registryPaths, name: "docker-registry", daemon, port, pullsThrough, settled: () => daemon.quiet() };
}
