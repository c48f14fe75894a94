/**
 * `wharfinger serve`: loads the configuration, starts the mirror, and stops it when it is told to.
 *
 * The first SIGTERM or SIGINT lets running answers finish; the second ends the process at once. Whatever goes wrong is
 * one clear text on standard error and an exit code.
 */
import { basename } from "node:path";
import { isFailure } from "../base/failure.ts";
import type { CredentialForm } from "../config/credential.ts";
import { ConfigFaults, faultText } from "../config/faults.ts";
import { loadConfig } from "../config/load.ts";
import { type Config, servesTls, upstreamsOf } from "../config/schema.ts";
import { EXIT, errorText, exitCodeOf } from "./exit.ts";
import { type SummaryFacts, type SummaryUpstream, summaryText } from "./summary.ts";
import type { RunningMirror, StopSignal, World } from "./world.ts";

export interface ServeRequest {
  readonly file: string | undefined;
  /** By kebab-case name; undefined = not given. */
  readonly flags: Readonly<Record<string, unknown>>;
}

/** As shells count: 128 and the signal's number. */
const SIGNAL_EXIT: Readonly<Record<StopSignal, number>> = { SIGINT: 130, SIGTERM: 143 };

/** @returns the exit code, when the mirror has stopped */
export async function serve(request: ServeRequest, world: World): Promise<number> {
  let config: Config;
  try {
    config = loadConfig({ file: request.file, env: world.env, flags: request.flags });
  } catch (error) {
    if (!(error instanceof ConfigFaults)) throw error;
    for (const fault of error.faults) world.stderr.write(`${faultText(fault)}\n`);
    return EXIT.badUsage;
  }
  const signals = watchSignals(world);
  try {
    return await runMirror(config, world, signals.first);
  } finally {
    signals.end();
  }
}

async function runMirror(config: Config, world: World, signalled: Promise<void>): Promise<number> {
  let mirror: RunningMirror | undefined;
  try {
    const createMirror = await world.loadMirror();
    mirror = await createMirror(config);
    const listening = await mirror.start();
    world.stderr.write(summaryText(summaryFacts(config, world, listening)));
    await warnOfMissing(config, world);
  } catch (error) {
    await mirror?.stop({ graceMs: 0 }).catch(() => {});
    return failed("cannot start", error, world);
  }
  await signalled;
  try {
    await mirror.stop({ graceMs: config.drainTimeout });
    return EXIT.done;
  } catch (error) {
    return failed("did not stop cleanly", error, world);
  }
}

function failed(what: string, error: unknown, world: World): number {
  world.stderr.write(`wharfinger: ${what}: ${errorText(error)}\n`);
  return isFailure(error) ? exitCodeOf(error) : EXIT.failed;
}

const SAME_SIGNAL_MS = 150;

function watchSignals(world: World): { readonly first: Promise<void>; end(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let last: { readonly signal: StopSignal; readonly at: number } | undefined;
  const end = world.onSignal((signal) => {
    const before = last;
    last = { signal, at: performance.now() };
    if (before !== undefined) {
      // A terminal signals the whole group, and npm hands on what it got: that is one Ctrl-C and not two.
      if (before.signal === signal && last.at - before.at < SAME_SIGNAL_MS) return;
      world.exit(SIGNAL_EXIT[signal]);
      return;
    }
    world.stderr.write(`wharfinger: ${signal}: finishing running answers; once more to stop at once\n`);
    resolve();
  });
  return { first: promise, end };
}

/** Its name where the configuration has one, else where it is to be had. */
function accountText(form: CredentialForm): string {
  switch (form.type) {
    case "basic":
      return form.username;
    case "token":
      return "bearer of a token";
    case "helper":
      return `helper ${form.name}`;
    case "dockerConfig":
      return `dockerConfig ${basename(form.file)}`;
    case "ecr":
      return form.roleArn === undefined ? "ecr" : `ecr ${form.roleArn}`;
    case "google":
      return form.keyFile === undefined ? "google" : `google ${basename(form.keyFile)}`;
    case "azure":
      return form.clientId === undefined ? "azure" : `azure ${form.clientId}`;
    case "ecrPublic":
    case "anonymous":
      return form.type;
  }
}

/** What no fault of the configuration is, but will fail the first pull. */
async function warnOfMissing(config: Config, world: World): Promise<void> {
  const { findMissing } = await import("../upstream/probe/needs.ts");
  const { parseEndpoint } = await import("../upstream/endpoints/endpoint.ts");
  for (const [name, { url, credentials }] of config.offline ? [] : upstreamsOf(config)) {
    for (const credential of credentials) {
      const missing = findMissing(name, credential, { endpoint: parseEndpoint(name, url), env: world.env });
      for (const one of missing) world.stderr.write(`wharfinger: warning: ${one}\n`);
    }
  }
}

function summaryFacts(
  config: Config,
  world: World,
  listening: Awaited<ReturnType<RunningMirror["start"]>>,
): SummaryFacts {
  return {
    version: world.version,
    registry: listening.registry,
    tls: servesTls(config.tls),
    admin: listening.admin,
    hostName: world.hostName,
    upstreams: [...upstreamsOf(config)].map(([name, { credentials }]): SummaryUpstream => {
      return { name, accounts: credentials.map(accountText) };
    }),
    defaultUpstream: config.defaultUpstream,
    offline: config.offline,
    cacheDir: config.cache.dir,
    maxSize: config.cache.maxSize,
  };
}
