/**
 * What `check` found, for people: a block of lines for each upstream, what is wrong with it and what to do. Pure.
 */

import type { AccountReport, EndpointReport, ProbeReport, ProbeResult } from "../upstream/probe/probe.ts";
import { RESULTS } from "../upstream/probe/result.ts";
import type { DefaultLimit } from "../upstream/registries/families.ts";
import { columns, plain, spanText } from "./wording.ts";

/** What `check --json` writes. */
export interface CheckReport {
  readonly format: "wharfinger-check/1";
  readonly version: string;
  /** The worst of all; `invalid` and `unknown` where nobody was asked for the faults there are. */
  readonly result: ProbeResult | "invalid" | "unknown";
  /** True where no upstream was asked. */
  readonly offline: boolean;
  /** The file that was read; null where there was none: the defaults, the environment, flags. */
  readonly config: string | null;
  /** Only where there are some. */
  readonly faults?: readonly CheckFault[];
  readonly upstreams: readonly (ProbeReport | UnaskedReport)[];
}

export interface CheckFault {
  /** The key in the configuration; undefined where the message names it. */
  readonly path?: string | undefined;
  readonly file?: string | undefined;
  readonly line?: number | undefined;
  readonly message: string;
}

/** With `--offline`. */
export interface UnaskedReport {
  readonly upstream: string;
  readonly result: "ok" | "unusable";
  /** What its credentials need and is not here. */
  readonly problems: readonly string[];
}

/** A registry's clock that is so far off makes tokens and certificates fail. */
const CLOCK_WARN_MS = 30_000;
const CERTIFICATE_WARN_DAYS = 14;

/**
 * @param quiet only what is not well.
 * @param source what was read, in words
 */
export function checkText(report: CheckReport, quiet: boolean, source: string): string {
  const { upstreams, offline } = report;
  if (offline) {
    const problems = upstreams.flatMap((one) => ("problems" in one ? one.problems : []));
    if (problems.length > 0) return problems.map((one) => `unusable  ${plain(one)}\n`).join("");
    if (quiet) return "";
    const names = upstreams.map(({ upstream }) => upstream).join(", ");
    return `the configuration is good: ${names}; nobody was asked (offline); ${source}\n`;
  }
  const probed = upstreams.filter((one): one is ProbeReport => "endpoints" in one);
  const shown = quiet ? probed.filter(({ result }) => result !== "ok") : probed;
  const blocks = shown.map((one) => `${plain(one.upstream)}  ${one.result}\n${linesOf(one).join("\n")}\n`);
  if (quiet) return blocks.join("\n");
  const counts = RESULTS.flatMap((result) => {
    const count = probed.filter((one) => one.result === result).length;
    return count === 0 ? [] : [`${count} ${result}`];
  });
  const noun = probed.length === 1 ? "upstream" : "upstreams";
  return `${blocks.join("\n")}\n${probed.length} ${noun}: ${counts.join(", ")}; ${source}\n`;
}

function linesOf({ endpoints, referrers, problem }: ProbeReport): string[] {
  if (problem !== undefined) return columns([["problem", plain(problem)]], "  ");
  const rows = endpoints.flatMap(rowsOf);
  return columns([...rows, ["referrers", referrers]], "  ");
}

function rowsOf(endpoint: EndpointReport): [string, string][] {
  const { url, addresses, via, certificate, family, status, roundTripMs, clockDifferenceMs, realm } = endpoint;
  const where = addresses.map(({ address, verdict }) => (verdict === "public" ? address : `${address} ${verdict}`));
  const rows: [string, string][] = [["address", `${plain(url)} (${where.join(", ") || "not resolved"}), ${via}`]];
  if (certificate !== undefined) {
    const { issuer, validUntil, daysLeft, trusted, fault } = certificate;
    const until = `until ${validUntil.slice(0, 10)} (${daysLeft} days${daysLeft < CERTIFICATE_WARN_DAYS ? " only" : ""})`;
    rows.push(["tls", `by ${plain(issuer)}, ${until}, ${trusted ? "trusted" : `not trusted: ${plain(fault ?? "?")}`}`]);
  }
  if (family !== undefined) {
    const closed = family.anonymous === "none" ? ", which has nothing for anonymous clients" : "";
    rows.push(["registry", `${family.title}, by its ${family.knownBy}${closed}`]);
    if (family.redirectsTo.length > 0) rows.push(["blobs", `usually come from ${family.redirectsTo.join(", ")}`]);
  }
  if (status !== undefined) {
    const off = clockDifferenceMs === undefined ? "no Date" : `clock ${signed(clockDifferenceMs)}`;
    const warn = Math.abs(clockDifferenceMs ?? 0) > CLOCK_WARN_MS ? "; one of the two clocks is wrong, see NTP" : "";
    rows.push(["answer", `${status} in ${Math.round(roundTripMs ?? 0)} ms, ${off}${warn}`]);
    const { scheme = "", server, mayHaveCredentials = true, why = "" } = realm ?? {};
    const verdict = mayHaveCredentials ? `credentials may go there: ${why}` : `no credentials go there: ${why}`;
    const asked = server === undefined ? scheme : `${scheme}, ${plain(server)}`;
    if (realm !== undefined) rows.push(["realm", `${asked}; ${plain(verdict)}`]);
    else if (status < 400) rows.push(["realm", "none, it lets anybody in"]);
  }
  for (const account of endpoint.accounts) rows.push(...accountRows(account));
  const order = orderOf(endpoint.accounts);
  if (order !== undefined) rows.push(["order", order]);
  return [...rows, ...problemRows(endpoint)];
}

function accountRows(report: AccountReport): [string, string][] {
  const { account, form, repositories, credentials, image, limits } = report;
  const name = form === "anonymous" ? form : `${plain(account)} (${form})`;
  const forWhat = repositories.includes("**") ? "" : `, for ${plain(repositories.join(" "))}`;
  const found = { yes: "may be pulled", no: "is not there", denied: "may not be pulled", "not known": "was not asked" };
  const saw = image === undefined ? "" : `; ${plain(`${image.repository}:${image.tag}`)} ${found[image.found]}`;
  const told = form === "anonymous" && credentials === "accepted" ? "let in" : TOLD[credentials];
  if (credentials === "not for it") return [["account", `${name}: not for it${forWhat}`]];
  const rows: [string, string][] = [["account", `${name}: ${told}${forWhat}${saw}`]];
  if (limits !== undefined) {
    const { limit, remaining, windowMs, source } = limits;
    const window = windowMs === undefined ? "" : ` in ${spanText(windowMs)}`;
    const counted = source === undefined ? "" : `, counted for ${plain(source)}`;
    rows.push(["limit", `${remaining ?? "?"} left of ${limit ?? "?"}${window}${counted}`]);
  } else rows.push(["limit", ["none told", ...report.documentedLimits.map(documentedText)].join("; documented: ")]);
  return [...rows, ...problemRows(report)];
}

/** `100 pulls in 6 h for each address` */
function documentedText({ requests, perMs, counts, per }: DefaultLimit): string {
  return `${requests} ${COUNTED[counts]} in ${spanText(perMs)} for each ${per}`;
}

const COUNTED: Readonly<Record<DefaultLimit["counts"], string>> = {
  manifests: "pulls",
  pulls: "manifests and layers",
  requests: "requests",
};

function problemRows({ problem, retryAfterMs }: EndpointReport | AccountReport): [string, string][] {
  const rows: [string, string][] = problem === undefined ? [] : [["problem", plain(problem)]];
  return retryAfterMs === undefined ? rows : [...rows, ["again", `in ${spanText(retryAfterMs)}`]];
}

const TOLD: Readonly<Record<AccountReport["credentials"], string>> = {
  accepted: "accepted",
  refused: "refused",
  "not asked for": "not asked for",
  "not known": "could not be tried",
  "none held": "has no entry for this registry: anonymous",
  "not for it": "not for it",
};

/** Which is shown where several may be: what the configuration maps to repositories goes first. */
function orderOf(accounts: readonly AccountReport[]): string | undefined {
  const asked = accounts.filter(({ credentials }) => credentials !== "not for it");
  const mapped = asked.filter(({ repositories }) => !repositories.includes("**"));
  if (mapped.length === 0 || mapped.length === asked.length) return undefined;
  const general = asked.filter(({ repositories }) => repositories.includes("**"));
  const names = (list: readonly AccountReport[]) => list.map(({ account }) => plain(account)).join(", ");
  return `for its repositories ${names(mapped)}; ${names(general)} for all others, and where the former are refused`;
}

function signed(ms: number): string {
  const seconds = Math.abs(ms) / 1000;
  if (seconds < 1) return "the same";
  return `${spanText(Math.abs(ms))} ${ms > 0 ? "ahead" : "behind"}`;
}
