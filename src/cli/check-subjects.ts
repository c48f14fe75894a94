/**
 * What `check` asks about: the upstreams of a configuration with their secrets at hand, and every fault of what the
 * configuration only names: files of secrets and certificates.
 */

import { systemClock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import { readCredential } from "../config/credential.ts";
import { type Config, servesTls, type UpstreamConfig, upstreamsOf } from "../config/schema.ts";
import { makeMaterial, readTexts } from "../http/tls-material.ts";
import { parseEndpoint } from "../upstream/endpoint.ts";
import { type ProbedAccount, type ProbeOptions, type ProbeReport, probeUpstream } from "../upstream/probe.ts";
import type { ProbeImage } from "../upstream/probe-images.ts";
import { TlsTrust } from "../upstream/tlsfiles.ts";
import type { World } from "./world.ts";

export interface Subject {
  readonly name: string;
  readonly options: ProbeOptions;
}

/** @throws Failure `unknown` where the only upstream to ask is not configured. */
export async function openSubjects(
  config: Config,
  only: string | undefined,
  env: World["env"],
): Promise<{ readonly subjects: readonly Subject[]; readonly faults: readonly string[] }> {
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
  const subjects: Subject[] = [];
  for (const [name, settings] of all) {
    if (only !== undefined && name !== only) continue;
    await attempt(() => void new TlsTrust(name, [parseEndpoint(name, settings.url)], optionsOf(settings)));
    const accounts: ProbedAccount[] = [];
    for (const credential of config.offline ? [] : settings.credentials) {
      await attempt(async () => {
        const open = await readCredential(credential, env).catch((error: unknown) => {
          throw isFailure(error) ? new Failure(error.kind, `upstreams.${name}.credentials: ${error.message}`) : error;
        });
        accounts.push({ form: credential.type, repositories: ["**"], credential: open });
      });
    }
    const { endpoints, repositories } = settings;
    subjects.push({ name, options: { upstream: optionsOf(settings), endpoints, accounts, allow: repositories.allow } });
  }
  return { subjects, faults };
}

/** All at once. */
export function askSubjects(subjects: readonly Subject[], image: ProbeImage | undefined): Promise<ProbeReport[]> {
  const surroundings = { clock: systemClock, network: { env: process.env } };
  return Promise.all(subjects.map(({ name, options }) => probeUpstream(name, { ...options, image }, surroundings)));
}

function optionsOf(settings: UpstreamConfig): ProbeOptions["upstream"] {
  return { ...settings, credentials: [], offline: false };
}
