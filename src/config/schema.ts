/**
 * The configuration: its keys, their defaults and one doc line each. Everything that is said about a key is said here;
 * the loader, the flags, the environment names, `--help` and the example file are derived.
 *
 * `Config` is the resolved form: durations are milliseconds, sizes bytes (or a share), names lower case.
 */
import * as z from "zod";
import { isFailure } from "../base/failure.ts";
import { findEcrHost } from "./ecr-host.ts";
import {
  choice,
  cron,
  directory,
  duration,
  hostList,
  keyDocs,
  listen,
  optionalSize,
  processes,
  registryName,
  section,
  share,
  size,
  sizeLimit,
  yesNo,
} from "./fields.ts";
import { canonicalRegistryName, DOCKER_HUB, parseRegistryName } from "./registry-name.ts";
import { tls } from "./tls-schema.ts";
import { ALWAYS, asRecord, type UpstreamConfig, upstream } from "./upstream-schema.ts";
import { warm } from "./warm-schema.ts";

export type { Credential, CredentialForm, SecretSource } from "./credential.ts";
export { servesTls, type TlsConfig } from "./tls-schema.ts";
export type { ListenAddress, SizeLimit } from "./units.ts";
export type { UpstreamConfig } from "./upstream-schema.ts";

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

/** What is mirrored where the configuration names no upstream. */
export const BUILT_IN_UPSTREAMS: readonly string[] = [
  DOCKER_HUB,
  "ghcr.io",
  "quay.io",
  "gcr.io",
  "registry.k8s.io",
  "mcr.microsoft.com",
  "public.ecr.aws",
];

const upstreams = z
  .record(z.string(), upstream, { error: "expected registry names, each with its settings below it" })
  .superRefine((given, context) => {
    const seen = new Map<string, string>();
    for (const key of Object.keys(asRecord(given))) {
      try {
        const name = parseRegistryName(key);
        const twin = seen.get(name);
        if (twin !== undefined) {
          context.addIssue({ code: "custom", path: [key], message: `names the same registry as "${twin}"` });
        }
        seen.set(name, key);
      } catch (error) {
        if (!isFailure(error)) throw error;
        context.addIssue({ code: "custom", path: [key], message: error.message });
      }
    }
  }, ALWAYS)
  .superRefine(checkHosts, ALWAYS)
  .superRefine(checkRegions, ALWAYS)
  .superRefine(checkRealms, ALWAYS)
  .transform(
    (given): Readonly<Record<string, UpstreamConfig>> =>
      Object.fromEntries(Object.entries(given).map(([key, value]) => [parseRegistryName(key), value])),
  );

export const schema = section("", {
  listen: listen("Where the registry API listens: host:port, 0.0.0.0:5000, [::]:5000.", "127.0.0.1:5000"),
  tls,
  admin: section("The second listener: metrics, health, administration; never the registry API.", {
    listen: listen("Where the admin API listens: /metrics /healthz /readyz /api/.", "127.0.0.1:5001"),
    hosts: hostList("Host names that it answers to below /api/, besides IP addresses and localhost.", [
      "wharfinger.infra.svc",
    ]),
  }),
  cache: section("What is kept on disk.", {
    dir: directory("Directory of the cache.", "./data"),
    maxSize: sizeLimit('Upper limit of the cache: bytes, or a share of the file system such as "80%".', "50GiB"),
    minFree: size("Never let the file system's free space fall below this.", "1GiB"),
    highWatermark: share(
      "Share of what may be stored (maxSize, or what minFree leaves) above which room is made.",
      "95%",
    ),
    lowWatermark: share("Share down to which room is made then.", "90%"),
    scrub: section("Reading everything that is stored, to find what the disk has damaged or lost.", {
      schedule: cron(
        'When: a cron expression in local time, such as "0 3 * * 0"; null = never.',
        "0 3 * * 0",
        "0 3 * * 0",
      ),
      bandwidth: optionalSize(
        "Bytes read per second at most, a file counting 32KiB more; null = no limit.",
        "32MiB",
        "32MiB",
      ),
    }),
  }).superRefine((value, context) => {
    const { highWatermark: high, lowWatermark: low } = asRecord(value);
    if (typeof high !== "number" || typeof low !== "number" || low <= high) return;
    context.addIssue({ code: "custom", path: ["lowWatermark"], message: "must not be above cache.highWatermark" });
  }, ALWAYS),
  defaultUpstream: registryName("What /v2/<repository>/… means when nothing else names an upstream.", DOCKER_HUB),
  offline: yesNo("Never contact an upstream; serve what is stored.", false),
  workers: processes("Processes that answer clients; auto = one for each core, 1 = all in one process.", 1, 64),
  sendfile: yesNo("Let the kernel copy stored bytes to clients where it can (Linux, with the koffi package).", true),
  drainTimeout: duration("How long running answers may take to finish after SIGTERM.", "30s"),
  log: section("What is written to standard output.", {
    level: choice("The least level that is written.", LOG_LEVELS, "info"),
    format: choice("One JSON object per line, or lines for people.", ["json", "pretty"], "json"),
  }),
  warm,
  upstreams: z
    .preprocess((value) => value ?? {}, upstreams)
    .prefault({})
    .register(keyDocs, {
      doc: "Registries to mirror, by their names in image references; none = the well-known public ones.",
    }),
}).superRefine((value, context) => {
  const config = asRecord(value);
  const admin = asRecord(config.admin);
  const port = asRecord(config.listen).port;
  if (port !== 0 && port !== undefined && isSameListen(config.listen, admin.listen)) {
    const message = "must not be the address of the registry API (listen)";
    context.addIssue({ code: "custom", path: ["admin", "listen"], message });
  }
  if (config.upstreams === undefined) return;
  const named = Object.keys(asRecord(config.upstreams)).map(canonicalRegistryName);
  const known = named.length > 0 ? named : BUILT_IN_UPSTREAMS;
  if (typeof config.defaultUpstream === "string" && !known.includes(canonicalRegistryName(config.defaultUpstream))) {
    const message = `"${config.defaultUpstream.slice(0, 255)}" is not among the upstreams (${known.slice(0, 10).join(", ")}); add it under upstreams, or name one of them`;
    context.addIssue({ code: "custom", path: ["defaultUpstream"], message });
  }
}, ALWAYS);

export type Config = z.output<typeof schema>;

/** The upstreams to build, by name: those that are configured, or the well-known ones with all their defaults. */
export function upstreamsOf(config: Config): ReadonlyMap<string, UpstreamConfig> {
  const configured = Object.entries(config.upstreams);
  if (configured.length > 0) return new Map(configured);
  return new Map(BUILT_IN_UPSTREAMS.map((name) => [name, upstream.parse({})]));
}

/** One `Host` cannot select two upstreams. */
function checkHosts(given: unknown, context: z.core.$RefinementCtx): void {
  const owners = new Map<string, string>();
  for (const [key, settings] of Object.entries(asRecord(given))) {
    const hosts = asRecord(settings).hosts;
    if (!Array.isArray(hosts)) continue;
    for (const [at, host] of hosts.entries()) {
      if (typeof host !== "string") continue;
      const owner = owners.get(host.toLowerCase());
      if (owner !== undefined) {
        const message = owner === key ? "is listed twice" : `already selects the upstream "${owner}"`;
        context.addIssue({ code: "custom", path: [key, "hosts", at], message });
      }
      owners.set(host.toLowerCase(), key);
    }
  }
}

/** Where the registry's host does not say in which region it is, the credential must. */
function checkRegions(given: unknown, context: z.core.$RefinementCtx): void {
  for (const [key, settings] of Object.entries(asRecord(given))) {
    const { url, credentials } = asRecord(settings);
    if (!Array.isArray(credentials)) continue;
    const hosts = [key, typeof url === "string" ? (URL.parse(url)?.hostname ?? "") : ""];
    if (hosts.some((host) => findEcrHost(host) !== undefined)) continue;
    for (const [at, one] of credentials.entries()) {
      const { type, region } = asRecord(one);
      if (type !== "ecr" || region !== undefined) continue;
      const message = "needs a region, which this registry's host does not name";
      context.addIssue({ code: "custom", path: [key, "credentials", at, "ecr"], message });
    }
  }
}

/** A token server without TLS is never asked for a registry with it: credentials would leave in plain text. */
function checkRealms(given: unknown, context: z.core.$RefinementCtx): void {
  for (const [key, settings] of Object.entries(asRecord(given))) {
    const { url, tokenRealm } = asRecord(settings);
    const isPlain = typeof url === "string" && url.startsWith("http:");
    if (isPlain || typeof tokenRealm !== "string" || !tokenRealm.startsWith("http:")) continue;
    const message = "is http, and the registry https: no token would be asked for there; https is expected";
    context.addIssue({ code: "custom", path: [key, "tokenRealm"], message });
  }
}

function isSameListen(left: unknown, right: unknown): boolean {
  const [one, other] = [asRecord(left), asRecord(right)];
  return one.port === other.port && one.host === other.host;
}
