/**
 * Really asks an upstream, at every endpoint and with every account, and tells what came of it: `wharfinger check`.
 *
 * Asks with the machinery that pulls are made with, a new one each time. Fetches nothing: `GET /v2/`, a token, and HEAD of
 * one manifest. Never throws for what an upstream does; never tells a secret.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure, messageOf } from "../../base/failure.ts";
import { ACCEPT_MANIFESTS } from "../../oci/mediatypes.ts";
import { parseRepository } from "../../oci/reference.ts";
import { chooseChallenge, parseChallenges } from "../auth/challenge.ts";
import type { CredentialSource } from "../credentials/credential.ts";
import { parseEndpoint, urlBelow } from "../endpoints/endpoint.ts";
import { Deadline } from "../exchange/deadline.ts";
import type { Reply } from "../exchange/exchange.ts";
import { judgeReply, mediaTypeOf } from "../exchange/outcome.ts";
import { failureOfAnswer, findRetryAfter } from "../exchange/trouble.ts";
import { findLimits, type LimitsSaid } from "../limits/ratelimit.ts";
import type { Network } from "../network/network.ts";
import { type Answer, headerOf } from "../network/transport.ts";
import { DEFAULT_TIMEOUTS, type UpstreamOptions } from "../options.ts";
import type { DefaultLimit, Family } from "../registries/families.ts";
import { isAbsence } from "../upstream.ts";
import { documentedLimits, lookAtFamily, type SeenFamily } from "./familyview.ts";
import { lookAtAddresses, lookAtCertificate, type SeenAddress, type SeenCertificate } from "./glance.ts";
import { findProbeImage, type ProbeImage } from "./probe-images.ts";
import { openProbeLine, type ProbeLine } from "./probeline.ts";
import { type JudgedRealm, lookAtRealm } from "./realmview.ts";

export const PROBE_TIMEOUT_MS = 10_000;
/** Asked about where nothing better is known: the scope of a token, never a manifest. */
const SOME_REPOSITORY = "wharfinger/check";

export interface ProbedAccount {
  /** How it was configured: `basic`, `token`, `ecr`, … or `anonymous`. */
  readonly form: string;
  /** Globs over the repositories it is for. */
  readonly repositories: readonly string[];
  /** Undefined is anonymous. */
  readonly source: CredentialSource | undefined;
}

export interface ProbeOptions {
  readonly upstream: UpstreamOptions;
  /** Empty is anonymous. */
  readonly accounts: readonly ProbedAccount[];
  /** Repositories that may be pulled. */
  readonly allow: readonly string[];
  /** What to ask for instead of what would be chosen. */
  readonly image?: ProbeImage | undefined;
}

export interface ProbeSurroundings {
  readonly clock: Clock;
  readonly network?: Network;
  /** For one endpoint with all its accounts. */
  readonly timeoutMs?: number;
}

export type ProbeResult = "ok" | "limited" | "refused" | "unreachable";

export interface ProbeReport {
  readonly upstream: string;
  /** The worst of its endpoints'. */
  readonly result: ProbeResult;
  /** Whether it has the referrers API, where that is known of it. */
  readonly referrers: "yes" | "no" | "not known";
  readonly endpoints: readonly EndpointReport[];
}

export interface EndpointReport {
  readonly url: string;
  /** The worst of its own and its accounts'. */
  readonly result: ProbeResult;
  readonly addresses: readonly SeenAddress[];
  /** `direct`, or the proxy. */
  readonly via: string;
  readonly certificate: SeenCertificate | undefined;
  /** What is running there; undefined where it could be anything that speaks the protocol. */
  readonly family: SeenFamily | undefined;
  /** To `GET /v2/` without credentials. */
  readonly status: number | undefined;
  readonly roundTripMs: number | undefined;
  /** Positive where the registry's clock is ahead of ours; `Date` has whole seconds. */
  readonly clockDifferenceMs: number | undefined;
  /** Undefined where it asks for no credentials. */
  readonly realm: JudgedRealm | undefined;
  readonly accounts: readonly AccountReport[];
  readonly retryAfterMs: number | undefined;
  /** What is wrong, and what to do. */
  readonly problem: string | undefined;
}

export interface AccountReport {
  readonly account: string;
  readonly form: string;
  readonly repositories: readonly string[];
  readonly result: ProbeResult;
  readonly credentials: "accepted" | "refused" | "not asked for" | "not known";
  /** The image that was asked about by HEAD. */
  readonly image: (ProbeImage & { readonly found: "yes" | "no" | "denied" | "not known" }) | undefined;
  readonly limits: LimitsSaid | undefined;
  /** Where none was said: what the registry's family documents for such an account. */
  readonly documentedLimits: readonly DefaultLimit[];
  readonly retryAfterMs: number | undefined;
  readonly problem: string | undefined;
}

const RANKS: readonly ProbeResult[] = ["ok", "limited", "refused", "unreachable"];

/** @throws Failure `invalid` for a URL or a TLS file that cannot be used. */
export async function probeUpstream(
  name: string,
  options: ProbeOptions,
  surroundings: ProbeSurroundings,
): Promise<ProbeReport> {
  const urls = [options.upstream.url, ...(options.upstream.endpoints ?? [])].map((url) => parseEndpoint(name, url));
  const endpoints = await Promise.all(urls.map((url) => probeEndpoint(name, url, options, surroundings)));
  return {
    upstream: name,
    result: worst(endpoints.map(({ result }) => result)),
    referrers: endpoints[0]?.family?.referrers ?? "not known",
    endpoints,
  };
}

async function probeEndpoint(
  name: string,
  endpoint: URL,
  options: ProbeOptions,
  { clock, network = {}, timeoutMs = PROBE_TIMEOUT_MS }: ProbeSurroundings,
): Promise<EndpointReport> {
  const { upstream } = options;
  const timeouts = { ...DEFAULT_TIMEOUTS, connectMs: timeoutMs, headersMs: timeoutMs };
  const lineFor = (source: CredentialSource | undefined) =>
    openProbeLine({ name, endpoint, source, upstream, clock, network, timeouts });
  const deadline = new Deadline(clock);
  deadline.set(timeoutMs, `${name}: ${endpoint.host} did not answer within ${timeoutMs / 1000} s`);
  const { signal } = deadline;
  const line = lineFor(undefined);
  try {
    const secure = endpoint.protocol === "https:";
    const [addresses, certificate, said] = await Promise.all([
      unless(signal, lookAtAddresses(endpoint, network.resolve), []),
      secure ? lookAtCertificate(endpoint, { name, upstream, network, clock, timeoutMs }) : undefined,
      greet(name, endpoint, line, clock, signal),
    ]);
    const { tokenRealm } = upstream;
    const family = lookAtFamily(endpoint, said.signs);
    const seen = { url: shownUrl(endpoint), addresses, via: line.via, certificate, family, ...said.seen };
    const realm =
      said.challenge === undefined ? undefined : lookAtRealm(said.challenge, { endpoint, tokenRealm, show: line.show });
    if (said.failure !== undefined) {
      const { retryAfterMs } = said.failure;
      const problem = messageOf(said.failure);
      return { ...seen, realm, accounts: [], result: resultOf(said.failure), retryAfterMs, problem };
    }
    const given = options.accounts.length > 0 ? options.accounts : [ANONYMOUS_ACCOUNT];
    const mayShow = realm?.mayHaveCredentials !== false;
    const image = findProbeImage(endpoint, options.image, options.allow);
    const accounts = await Promise.all(
      given.map((one) =>
        probeAccount(
          { name, endpoint, image, clock, signal, challenged: said.seen.status === 401, mayShow, family: family?.name },
          one,
          lineFor,
        ),
      ),
    );
    const result = worst(accounts.map((one) => one.result));
    return { ...seen, realm, accounts, result, retryAfterMs: undefined, problem: undefined };
  } finally {
    deadline.lift();
    await line.close();
  }
}

const ANONYMOUS_ACCOUNT: ProbedAccount = { form: "anonymous", repositories: ["**"], source: undefined };

/** `GET /v2/` as a stranger: is it there, what does it ask for, what time is it there? */
async function greet(name: string, endpoint: URL, line: ProbeLine, clock: Clock, signal: AbortSignal) {
  const startedAt = clock.now();
  const nothing = { status: undefined, roundTripMs: undefined, clockDifferenceMs: undefined };
  try {
    const { answer, body } = await line.bare(pingUrl(endpoint), signal);
    const endedAt = clock.now();
    const date = Date.parse(headerOf(answer, "date") ?? "");
    const seen = {
      status: answer.status,
      roundTripMs: endedAt - startedAt,
      // Of a time in whole seconds the middle is the likeliest.
      clockDifferenceMs: Number.isNaN(date) ? undefined : Math.round(date + 500 - (startedAt + endedAt) / 2),
    };
    const challenges = parseChallenges(answer.headers["www-authenticate"]);
    const signs = { challenges, headers: answer.headers };
    const challenge = chooseChallenge(challenges);
    return { seen, signs, challenge, failure: failureOfGreeting(name, endpoint, answer, body, line, clock.now()) };
  } catch (error) {
    return { seen: nothing, signs: undefined, challenge: undefined, failure: toFailure(error) };
  }
}

function failureOfGreeting(
  name: string,
  endpoint: URL,
  answer: Answer,
  body: string,
  line: ProbeLine,
  now: number,
): Failure | undefined {
  const { status } = answer;
  if (status === 404) {
    const text = `${name}: ${endpoint.host} answers 404 to ${pingUrl(endpoint).pathname}, so no registry is there; check upstreams.${name}.url`;
    return new Failure("unreachable", text, { upstreamStatus: 404 });
  }
  if (status === 200) {
    try {
      mediaTypeOf(name, answer);
    } catch (error) {
      return toFailure(error);
    }
  }
  if (status < 400 || status === 401 || status === 403) return undefined;
  return failureOfAnswer(name, {
    status,
    contentType: headerOf(answer, "content-type"),
    body,
    retryAfterMs: findRetryAfter(headerOf(answer, "retry-after"), now),
    hide: line.hide,
  });
}

interface AccountQuestion {
  readonly name: string;
  readonly endpoint: URL;
  readonly image: ProbeImage | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The registry wants credentials of whoever comes. */
  readonly challenged: boolean;
  /** Our credentials may go where it asks for them. */
  readonly mayShow: boolean;
  readonly family: Family | undefined;
}

async function probeAccount(
  { name, endpoint, image, clock, signal, challenged, mayShow, family }: AccountQuestion,
  { form, repositories, source }: ProbedAccount,
  lineFor: (source: CredentialSource | undefined) => ProbeLine,
): Promise<AccountReport> {
  const line = lineFor(source);
  let limits: LimitsSaid | undefined;
  let credentials: AccountReport["credentials"] = "not known";
  let found: NonNullable<AccountReport["image"]>["found"] = "not known";
  // What could not be had, or may not go where it is asked for, was not refused by the upstream.
  const shown = () => line.holds && mayShow;
  const report = (failure?: Failure): AccountReport => ({
    account: line.account,
    form,
    repositories,
    result: failure === undefined ? "ok" : resultOf(failure),
    credentials: failure?.kind === "refused" && shown() ? "refused" : credentials,
    image: image === undefined ? undefined : { ...image, found },
    limits,
    documentedLimits: limits === undefined ? documentedLimits(family, line.holds ? "authenticated" : "anonymous") : [],
    retryAfterMs: failure?.retryAfterMs,
    problem: failure === undefined ? undefined : messageOf(failure),
  });
  const repository = parseRepository(image?.repository ?? SOME_REPOSITORY);
  const judge = (kind: "ping" | "manifest", reply: Reply) => {
    if (reply.url.origin === endpoint.origin) limits = findLimits(reply.answer.headers, clock.now()) ?? limits;
    return judgeReply(name, kind, reply, { wanted: [200], now: clock.now(), hide: line.hide });
  };
  try {
    const url = pingUrl(endpoint);
    const ping = await line.ask({ kind: "ping", method: "GET", url, repository, accept: "*/*", signal });
    const absent = isAbsence(ping) ? ping : judge("ping", ping);
    if (absent !== undefined) throw denied(name, form !== "anonymous", image);
    credentials = challenged ? "accepted" : "not asked for";
    if (image === undefined) return report();
    const head = await line.ask({
      kind: "manifest",
      method: "HEAD",
      url: urlBelow(endpoint, repository, `manifests/${image.tag}`),
      repository,
      accept: ACCEPT_MANIFESTS,
      signal,
    });
    const missing = isAbsence(head) ? head : judge("manifest", head);
    if (!isAbsence(head) && head.authorization?.source === "granted") credentials = "accepted";
    found = missing === undefined ? "yes" : missing.absent === "denied" ? "denied" : "no";
    return found === "denied" ? report(denied(name, form !== "anonymous", image)) : report();
  } catch (error) {
    return report(toFailure(error));
  } finally {
    await line.close();
  }
}

function denied(name: string, hasCredential: boolean, image: ProbeImage | undefined): Failure {
  const what = image === undefined ? "anything" : image.repository;
  const advice = hasCredential
    ? `give this account the right to pull it, or name another repository by --repository`
    : `set upstreams.${name}.credentials, or name a public repository by --repository`;
  const who = hasCredential ? "this account" : "anonymous clients";
  return new Failure("denied", `${name} does not let ${who} pull ${what}; ${advice}`);
}

function resultOf({ kind }: Failure): ProbeResult {
  if (kind === "limited") return "limited";
  return kind === "refused" || kind === "denied" || kind === "invalid" ? "refused" : "unreachable";
}

function worst(results: readonly ProbeResult[]): ProbeResult {
  return RANKS[Math.max(0, ...results.map((result) => RANKS.indexOf(result)))] ?? "ok";
}

/** What is no `Failure` is a bug, and stays one. */
function toFailure(error: unknown): Failure {
  if (isFailure(error)) return error;
  throw error;
}

function pingUrl(endpoint: URL): URL {
  const url = new URL(endpoint);
  url.pathname = `${endpoint.pathname.replace(/\/+$/, "")}/v2/`;
  return url;
}

function shownUrl(endpoint: URL): string {
  return endpoint.href.replace(/\/$/, "");
}

/** A name server may be silent for longer than anybody waits. */
function unless<T>(signal: AbortSignal, wait: Promise<T>, otherwise: T): Promise<T> {
  return Promise.race([
    wait,
    new Promise<T>((done) => signal.addEventListener("abort", () => done(otherwise), { once: true })),
  ]);
}
