/**
 * Really asks an upstream, at every endpoint and with every account, and tells what came of it: `wharfinger check`.
 *
 * Asks with the machinery that pulls are made with, a new one each time. Fetches nothing: `GET /v2/`, a token, and HEAD of
 * one manifest. Never throws for what an upstream does; never tells a secret.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure, messageOf } from "../../base/failure.ts";
import { parseRepository } from "../../oci/reference.ts";
import { eligible } from "../auth/accounts.ts";
import { chooseChallenge, parseChallenges } from "../auth/challenge.ts";
import type { CredentialSource } from "../credentials/credential.ts";
import { parseEndpoint } from "../endpoints/endpoint.ts";
import { Deadline } from "../exchange/deadline.ts";
import { mediaTypeOf } from "../exchange/outcome.ts";
import { failureOfAnswer, findRetryAfter } from "../exchange/trouble.ts";
import type { Network } from "../network/network.ts";
import { type Answer, headerOf } from "../network/transport.ts";
import { DEFAULT_TIMEOUTS, type UpstreamOptions } from "../options.ts";
import { findKnown } from "../registries/known.ts";
import { mayPull } from "../registries/repositories.ts";
import { lookAtFamily, type SeenFamily } from "./familyview.ts";
import { lookAtAddresses, lookAtCertificate, type SeenAddress, type SeenCertificate } from "./glance.ts";
import { type AccountReport, notForIt, type ProbedAccount, probeAccount } from "./probe-account.ts";
import { findProbeImage, type ProbeImage } from "./probe-images.ts";
import { openProbeLine, type ProbeLine } from "./probeline.ts";
import { type JudgedRealm, lookAtRealm } from "./realmview.ts";
import { joined, type ProbeResult, resultOf, toFailure } from "./result.ts";

export type { AccountReport, ProbedAccount } from "./probe-account.ts";
export type { ProbeResult } from "./result.ts";

export const PROBE_TIMEOUT_MS = 10_000;
export interface ProbeOptions {
  readonly upstream: UpstreamOptions;
  /** Empty is anonymous. */
  readonly accounts: readonly ProbedAccount[];
  /** Repositories that may be pulled, and that may not. */
  readonly allow: readonly string[];
  readonly deny?: readonly string[];
  /** What to ask for instead of what would be chosen. */
  readonly image?: ProbeImage | undefined;
}

export interface ProbeSurroundings {
  readonly clock: Clock;
  readonly network?: Network;
  /** For one endpoint, and for each of its accounts. */
  readonly timeoutMs?: number;
}

export interface ProbeReport {
  readonly upstream: string;
  /** What its endpoints' come to. */
  readonly result: ProbeResult;
  /** Why our own rules keep the image from everybody; nobody was asked then. */
  readonly problem: string | undefined;
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

/** @throws Failure `invalid` for a URL or a TLS file that cannot be used. */
export async function probeUpstream(
  name: string,
  options: ProbeOptions,
  surroundings: ProbeSurroundings,
): Promise<ProbeReport> {
  const asked = options.image === undefined ? undefined : fullName(name, options.image);
  const referrers = "not known";
  if (asked !== undefined && !mayPull({ allow: options.allow, deny: options.deny ?? [] }, asked.repository)) {
    const problem = `this mirror's own rules do not let anybody pull ${asked.repository}; see upstreams.${name}.repositories`;
    return { upstream: name, result: "refused", problem, referrers, endpoints: [] };
  }
  const urls = [options.upstream.url, ...(options.upstream.endpoints ?? [])].map((url) => parseEndpoint(name, url));
  const endpoints = await Promise.all(
    urls.map(async (url, at) => {
      const report = await probeEndpoint(name, url, { ...options, image: asked }, surroundings);
      return at === 0 ? report : { ...report, problem: report.problem?.replaceAll(...otherSetting(name)) };
    }),
  );
  return {
    upstream: name,
    result: joined(endpoints.map(({ result }) => result)),
    problem: undefined,
    referrers: endpoints[0]?.family?.referrers ?? referrers,
    endpoints,
  };
}

/** As a pull would ask for it: `alpine` of Docker Hub is `library/alpine`. */
function fullName(upstream: string, image: ProbeImage): ProbeImage {
  const namespace = findKnown(upstream)?.implicitNamespace;
  const isShort = namespace !== undefined && !image.repository.includes("/");
  return isShort ? { ...image, repository: `${namespace}/${image.repository}` } : image;
}

/** Advice speaks of the first endpoint's setting. */
function otherSetting(name: string): [string, string] {
  return [`upstreams.${name}.url`, `upstreams.${name}.endpoints`];
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
    deadline.lift();
    const image = findProbeImage(endpoint, options.image, options.allow);
    const question = {
      ...{ name, endpoint, image, clock, timeoutMs, family: family?.name },
      challenged: said.seen.status === 401,
      mayShow: realm?.mayHaveCredentials !== false,
    };
    const { first, last, others } = sortAccounts(options.accounts, options.image);
    const asked = await Promise.all([...first, ...last].map((one) => probeAccount(question, one, lineFor)));
    const result = joined(asked.map((one) => one.result));
    const accounts = options.image === undefined ? asked : [...asked, ...asNotForIt(others, options.image)];
    return { ...seen, realm, accounts, result, retryAfterMs: undefined, problem: undefined };
  } finally {
    deadline.lift();
    await line.close();
  }
}

/**
 * Who would be asked for the image, and in which order: accounts that are mapped to it, then those for everything. All of them,
 * and in the order of the configuration, where no image is asked for.
 */
function sortAccounts(accounts: readonly ProbedAccount[], image: ProbeImage | undefined) {
  if (accounts.length === 0) return { first: [ANONYMOUS_ACCOUNT], last: [], others: [] };
  if (image === undefined) return { first: accounts, last: [], others: [] };
  const chosen = eligible(accounts, parseRepository(image.repository));
  const general = accounts.filter((one) => one.repositories.includes("**") && !chosen.includes(one));
  const others = accounts.filter((one) => !chosen.includes(one) && !general.includes(one));
  return { first: chosen.length > 0 ? chosen : [ANONYMOUS_ACCOUNT], last: general, others };
}

function asNotForIt(accounts: readonly ProbedAccount[], image: ProbeImage): AccountReport[] {
  return accounts.map((one) => notForIt(one, image));
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

function pingUrl(endpoint: URL): URL {
  const url = new URL(endpoint);
  url.pathname = `${endpoint.pathname.replace(/\/+$/, "")}/v2/`;
  return url;
}
