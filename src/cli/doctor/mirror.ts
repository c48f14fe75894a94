/**
 * The mirror as its clients meet it: is it there, is it one, is its clock right, which ways of naming a registry answer.
 *
 * Without an image nothing is asked that an upstream would have to answer.
 */
import { messageOf } from "../../base/failure.ts";
import { canonicalRegistryName, DOCKER_HUB } from "../../config/registry-name.ts";
import type { ImageName } from "../../load/place.ts";
import type { Answer } from "../../load/receipt.ts";
import type { Visitor } from "../../load/visitor.ts";
import { ACCEPT_MANIFESTS } from "../../oci/mediatypes.ts";
import { referenceText } from "../../oci/reference.ts";
import { plain, spanText } from "../wording.ts";
import { type Finding, fail, ok, skipped, warn } from "./finding.ts";

const CLOCK_WARN_MS = 30_000;
const CLOCK_FAIL_MS = 5 * 60_000;

export interface Greeting {
  readonly findings: readonly Finding[];
  /** False where there is no use in asking on. */
  readonly isMirror: boolean;
}

/** @param now epoch milliseconds */
export async function greet(visitor: Visitor, url: URL, now: () => number): Promise<Greeting> {
  const ping = new URL(`${url.origin}${url.pathname.replace(/\/+$/, "").replace(/\/v2$/, "")}/v2/`);
  let answer: Answer;
  try {
    answer = await visitor.ask("GET", ping);
  } catch (error) {
    const next = `start it there, or check the address, firewalls and proxies: curl -v ${ping.href}`;
    return { findings: [fail("reachable", `${url.host}: ${plain(messageOf(error))}`, next)], isMirror: false };
  }
  const reachable = ok("reachable", `${url.origin} answers ${answer.status} in ${Math.round(answer.totalMs)} ms`);
  const isMirror = isWharfinger(answer);
  const server = answer.headers.server;
  const instead = server === undefined ? "" : `, but says it is ${plain(String(server))}`;
  const unknown = fail(
    "wharfinger",
    `what answers there is no wharfinger: it has no Via and no Cache-Status of one${instead}`,
    "check host, port and path; behind another proxy, let Via and Cache-Status pass",
  );
  const identity = isMirror ? ok("wharfinger", "its Via and Cache-Status say so") : unknown;
  const findings = [reachable, identity, clockFinding(answer, now())];
  if (isMirror && answer.status !== 200) findings.push(pathFinding(ping, answer));
  return { findings, isMirror };
}

function isWharfinger({ headers }: Answer): boolean {
  return /\bwharfinger\b/.test(headers.via ?? "") || String(headers["cache-status"] ?? "").startsWith("wharfinger");
}

function pathFinding(ping: URL, answer: Answer): Finding {
  const said = saidBy(answer);
  if (answer.status === 404) {
    return fail("path", `${ping.pathname} is not served: ${said}`, "name a registry there that is among its upstreams");
  }
  return fail("path", `${ping.pathname} is answered ${answer.status}: ${said}`, "see the mirror's log");
}

function clockFinding({ headers }: Answer, now: number): Finding {
  const date = Date.parse(headers.date ?? "");
  if (Number.isNaN(date)) return skipped("clock", "the answer has no Date");
  // Of a time in whole seconds the middle is the likeliest.
  const differenceMs = date + 500 - now;
  const off = Math.abs(differenceMs);
  if (off < CLOCK_WARN_MS) return ok("clock", "the mirror's is the same as this machine's");
  const says = `the mirror's is ${spanText(off)} ${differenceMs > 0 ? "ahead of" : "behind"} this machine's`;
  const next = "set the wrong one of the two right: timedatectl set-ntp true";
  return off > CLOCK_FAIL_MS ? fail("clock", says, next) : warn("clock", says, next);
}

/** Undefined where that is not what is answered. */
export async function findHas(visitor: Visitor, url: URL, registry: string): Promise<boolean | undefined> {
  const target = new URL(`/v2/?ns=${encodeURIComponent(registry)}`, url.origin);
  const answer = await attempt(visitor, "GET", target);
  return answer?.status === 200 ? true : answer?.status === 404 ? false : undefined;
}

/**
 * By `GET /v2/`, which the mirror answers without an upstream: 404 where the registry is none of its.
 * @param guessed the registries are well-known ones and not those of its configuration
 */
export async function findServed(
  visitor: Visitor,
  url: URL,
  registries: readonly string[],
  guessed: boolean,
): Promise<readonly Finding[]> {
  const forms = [
    ["?ns=<registry>", (registry: string) => `/v2/?ns=${encodeURIComponent(registry)}`],
    ["/<registry>/v2/", (registry: string) => `/${encodeURIComponent(registry)}/v2/`],
  ] as const;
  const findings: Finding[] = [];
  for (const [form, pathOf] of forms) {
    const served: string[] = [];
    const not: string[] = [];
    for (const registry of registries) {
      const answer = await attempt(visitor, "GET", new URL(pathOf(registry), url.origin));
      (answer?.status === 200 ? served : not).push(registry);
    }
    const missing = not.length === 0 ? "" : `; not for ${not.join(", ")}`;
    findings.push(
      served.length > 0
        ? ok(form, `answers for ${served.join(", ")}${missing}`)
        : guessed
          ? skipped(form, `none of the well-known registries is here; name one that is: --image REGISTRY/NAME:TAG`)
          : fail(form, `answers for none of ${registries.join(", ")}`, "is this the mirror of that --config?"),
    );
  }
  const why = "needs an image to ask for: --image docker.io/library/alpine:3";
  return [...findings, skipped("/v2/<registry>/…", why), skipped("default", why)];
}

/** A real manifest by HEAD, in each form; it costs no pull, but the mirror may have to ask its upstream. */
export async function tryImage(
  visitor: Visitor,
  url: URL,
  image: ImageName,
  defaultUpstream: string | undefined,
): Promise<readonly Finding[]> {
  const registry = image.registry ?? DOCKER_HUB;
  const { repository, reference } = image;
  const rest = `${repository}/manifests/${referenceText(reference)}`;
  const name = encodeURIComponent(registry);
  const forms = [
    ["?ns=<registry>", `/v2/${rest}?ns=${name}`, "containerd, BuildKit, k3s"],
    ["/<registry>/v2/", `/${name}/v2/${rest}`, "containerd with a path, dockerd from 25"],
    ["/v2/<registry>/…", `/v2/${registry}/${rest}`, "podman, CRI-O, crane"],
  ] as const;
  const findings: Finding[] = [];
  let digest: string | undefined;
  for (const [form, path, who] of forms) {
    const target = new URL(path, url.origin);
    const answer = await attempt(visitor, "HEAD", target, ACCEPT_MANIFESTS);
    if (answer?.status === 200) {
      digest = String(answer.headers["docker-content-digest"] ?? "");
      findings.push(
        ok(form, `${digest.slice(0, 19)} (${who}); ${plain(String(answer.headers["cache-status"] ?? ""))}`),
      );
    } else findings.push(await explain(visitor, form, target, answer, registry));
  }
  return [
    ...findings,
    await tryDefault(visitor, new URL(`/v2/${rest}`, url.origin), registry, digest, defaultUpstream),
  ];
}

/** @param configured the configuration's default, where that is at hand: another registry may have the same image. */
async function tryDefault(
  visitor: Visitor,
  target: URL,
  registry: string,
  digest: string | undefined,
  configured: string | undefined,
) {
  const answer = await attempt(visitor, "HEAD", target, ACCEPT_MANIFESTS);
  const who = registry === DOCKER_HUB ? " (dockerd)" : "";
  const isSame = answer?.status === 200 && answer.headers["docker-content-digest"] === digest;
  const isConfigured =
    configured === undefined || canonicalRegistryName(configured) === canonicalRegistryName(registry);
  if (isSame && configured === undefined) {
    return ok("default", `the same image comes where nothing names a registry${who}; --config would tell from where`);
  }
  if (isSame && isConfigured) return ok("default", `${registry} is what is meant where nothing names a registry${who}`);
  if (digest === undefined || answer === undefined)
    return skipped("default", "no form that names the registry has answered");
  const says = `${registry} is not what is meant where nothing names a registry`;
  if (registry !== DOCKER_HUB) return skipped("default", says);
  return warn(
    "default",
    `${says}, and dockerd names none`,
    "set defaultUpstream: docker.io, or give dockerd the mirror with /docker.io behind",
  );
}

/** HEAD has no error text, so what went wrong is asked for again by GET. */
async function explain(visitor: Visitor, form: string, target: URL, head: Answer | undefined, registry: string) {
  const answer = head === undefined ? undefined : await attempt(visitor, "GET", target, ACCEPT_MANIFESTS);
  const shown = `${target.pathname}${target.search}`;
  if (answer === undefined) return fail(form, `${shown} is not answered`, "see the mirror's log");
  const said = saidBy(answer);
  // The mirror that asked itself has 508 for an answer, and its client 502.
  const status = answer.status === 502 && /\b508\b/.test(said) ? 508 : answer.status;
  return fail(form, `${shown} is answered ${answer.status}: ${said}`, adviceFor(status, registry));
}

function adviceFor(status: number, registry: string): string {
  switch (status) {
    case 404:
      return `is there such an image? Is ${registry} among the mirror's upstreams? With a password, has the account the right to pull it?`;
    case 401:
    case 403:
      return "the mirror's repositories.allow and deny, or its clients' access, do not let this pass";
    case 429:
      return `the limit at ${registry} is used up: give the mirror credentials there, see wharfinger check`;
    case 502:
    case 504:
      return `on the mirror's machine: wharfinger check --upstream ${registry}`;
    case 508:
      return `the mirror's upstream ${registry} leads back to the mirror: set its url to the registry itself`;
    default:
      return "see the mirror's log";
  }
}

async function attempt(
  visitor: Visitor,
  method: "GET" | "HEAD",
  url: URL,
  accept?: string,
): Promise<Answer | undefined> {
  try {
    return await visitor.ask(method, url, accept);
  } catch {
    return undefined;
  }
}

/** The first error of an OCI envelope, or the beginning of whatever it is. */
export function saidBy({ body }: Answer): string {
  const text = body.toString("utf8", 0, 4096);
  const message = /"message"\s*:\s*("(?:[^"\\]|\\.)*")/.exec(text)?.[1];
  try {
    if (message !== undefined) return plain(String(JSON.parse(message)));
  } catch {
    // No JSON after all.
  }
  return plain(text.slice(0, 200).trim()) || "no further word";
}

/** What the second listener says of whether it can serve. */
export async function askReadiness(visitor: Visitor, admin: URL | undefined): Promise<Finding> {
  const check = "ready";
  if (admin === undefined) return skipped(check, "needs the address of the admin API: --admin http://host:5001");
  const target = new URL("/readyz", admin);
  let answer: Answer;
  try {
    answer = await visitor.ask("GET", target);
  } catch (error) {
    return warn(
      check,
      `${target.host}: ${plain(messageOf(error))}`,
      "admin.listen says where it is; from elsewhere it may be closed on purpose",
    );
  }
  const told = (key: string) =>
    new RegExp(`"${key}"\\s*:\\s*"([^"]{1,300})"`).exec(answer.body.toString("utf8", 0, 4096))?.[1];
  if (answer.status === 200 && told("status") === "degraded") {
    const advice = plain(told("advice") ?? "see the mirror's log");
    return warn(check, `it serves, but ${plain(told("reason") ?? "its storage is in trouble")}`, advice);
  }
  if (answer.status === 200) return ok(check, `${target.href} says so`);
  if (answer.status === 404) {
    const which = isWharfinger(answer)
      ? "that is where the registry is, and not the admin API"
      : "no admin API is there";
    return fail(
      check,
      `${target.href} answers 404: ${which}`,
      "admin.listen says where it is; by default 127.0.0.1:5001",
    );
  }
  const reason = told("reason");
  return fail(
    check,
    `${target.href} answers ${answer.status}: ${plain(reason ?? "no reason")}`,
    "see the mirror's log",
  );
}
