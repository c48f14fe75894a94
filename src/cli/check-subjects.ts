/**
 * What `check` asks about: the upstreams of a configuration with their secrets at hand, and every fault of what the
 * configuration only names: files of secrets and certificates.
 */

import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import { itemText } from "../config/faults.ts";
import { type Config, servesTls, type UpstreamConfig, upstreamsOf } from "../config/schema.ts";
import { makeMaterial, readTexts } from "../http/tls-material.ts";
import type { CredentialSource } from "../upstream/credentials/credential.ts";
import { openCredential } from "../upstream/credentials/open.ts";
import { parseEndpoint } from "../upstream/endpoints/endpoint.ts";
import { openTransport } from "../upstream/network/transport.ts";
import { DEFAULT_TIMEOUTS } from "../upstream/options.ts";
import { findMissing } from "../upstream/probe/needs.ts";
import { type ProbedAccount, type ProbeOptions, type ProbeReport, probeUpstream } from "../upstream/probe/probe.ts";
import type { ProbeImage } from "../upstream/probe/probe-images.ts";
import type { World } from "./world.ts";

export interface Subject {
  readonly name: string;
  readonly options: ProbeOptions;
  /** Programs and packages that its credentials need and that are not here. */
  readonly missing: readonly string[];
}

export interface Subjects {
  readonly subjects: readonly Subject[];
  readonly faults: readonly string[];
  /** Ends what credentials have running. */
  close(): Promise<void>;
}

/** @throws Failure `unknown` where the only upstream to ask is not configured. */
export async function openSubjects(config: Config, only: string | undefined, env: World["env"]): Promise<Subjects> {
  const all = upstreamsOf(config);
  if (only !== undefined && !all.has(only)) {
    throw new Failure("unknown", `${only} is not among the upstreams: ${[...all.keys()].join(", ")}`);
  }
  const faults: string[] = [];
  const attempt = async (work: () => Promise<void> | void) => {
    try {
      await work();
    } catch (error) {
      if (!isFailure(error)) throw error;
      faults.push(error.message);
    }
  };
  await attempt(async () => {
    const { tls } = config;
    if (!servesTls(tls)) return;
    const certificates = [{ cert: tls.cert, key: tls.key }, ...tls.certificates].flatMap(({ cert, key }) =>
      cert === undefined || key === undefined ? [] : [{ cert, key }],
    );
    const { clientCa, clientAuth } = tls;
    const settings = { certificates, clientCa, clientAuth: clientAuth ?? "required", ticketSecret: "" };
    makeMaterial(await readTexts(settings), settings);
  });
  const opened: CredentialSource[] = [];
  const subjects: Subject[] = [];
  for (const [name, settings] of all) {
    if (only !== undefined && name !== only) continue;
    await attempt(() => tryConnections(name, settings, env));
    const accounts: ProbedAccount[] = [];
    // Who contacts nobody needs no secrets.
    const missing: string[] = [];
    for (const [index, credential] of config.offline ? [] : settings.credentials.entries()) {
      await attempt(async () => {
        const { type: form, repositories } = credential;
        const source = await openSource(name, credential, settings, env, index);
        opened.push(source);
        accounts.push({ form, repositories, source });
        missing.push(...findMissing(name, credential, { endpoint: parseEndpoint(name, settings.url), env }));
      });
    }
    const { allow, deny } = settings.repositories;
    subjects.push({ name, options: { upstream: optionsOf(settings), accounts, allow, deny }, missing });
  }
  const close = async () => {
    await Promise.all(opened.map((source) => source.close?.()));
  };
  return { subjects, faults, close };
}

/** Certificates and proxies, opened as for real, without a connection. @throws Failure `invalid` */
async function tryConnections(name: string, settings: UpstreamConfig, env: World["env"]): Promise<void> {
  const endpoints = [settings.url, ...settings.endpoints].map((url) => parseEndpoint(name, url));
  await openTransport(name, endpoints, optionsOf(settings), DEFAULT_TIMEOUTS, systemClock, { env }).close();
}

async function openSource(
  name: string,
  credential: UpstreamConfig["credentials"][number],
  { url }: UpstreamConfig,
  env: World["env"],
  index: number,
): Promise<CredentialSource> {
  try {
    return await openCredential(credential, { name, endpoint: parseEndpoint(name, url), clock: systemClock, env });
  } catch (error) {
    const place = itemText(`upstreams.${name}.credentials`, index);
    throw isFailure(error) ? new Failure(error.kind, `${place}: ${error.message}`) : error;
  }
}

/** All at once. */
export function askSubjects(
  subjects: readonly Subject[],
  image: ProbeImage | undefined,
  env: World["env"],
): Promise<ProbeReport[]> {
  const surroundings = { clock: systemClock, network: { env } };
  return Promise.all(subjects.map(({ name, options }) => probeUpstream(name, { ...options, image }, surroundings)));
}

function optionsOf(settings: UpstreamConfig): ProbeOptions["upstream"] {
  return { ...settings, credentials: [], offline: false };
}
