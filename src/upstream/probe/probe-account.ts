/**
 * One account at one endpoint, really asked: are its credentials to be had, are they accepted, may it pull, what is left.
 *
 * What cannot be had of our own (a helper that is missing or slow, a cloud that gives nothing) is the account's trouble and
 * never the registry's: the registry's time runs only while it is the registry that is waited for.
 */
import type { Clock } from "../../base/clock.ts";
import { Failure, isFailure, messageOf } from "../../base/failure.ts";
import { ACCEPT_MANIFESTS } from "../../oci/mediatypes.ts";
import { parseRepository } from "../../oci/reference.ts";
import type { CredentialSource } from "../credentials/credential.ts";
import { urlBelow } from "../endpoints/endpoint.ts";
import { Deadline } from "../exchange/deadline.ts";
import type { Reply } from "../exchange/exchange.ts";
import { judgeReply } from "../exchange/outcome.ts";
import { findLimits, type LimitsSaid } from "../limits/ratelimit.ts";
import type { DefaultLimit, Family } from "../registries/families.ts";
import { isAbsence } from "../upstream.ts";
import { documentedLimits } from "./familyview.ts";
import type { ProbeImage } from "./probe-images.ts";
import type { ProbeLine } from "./probeline.ts";
import { type ProbeResult, resultOf, toFailure } from "./result.ts";

/** Asked about where nothing better is known: the scope of a token, never a manifest. */
const SOME_REPOSITORY = "wharfinger/check";
/** What holds our credentials has limits of its own (programs 10 s, clouds 20 s), which say more; this is for the rest. */
const CREDENTIAL_TIMEOUT_MS = 30_000;

export interface ProbedAccount {
  /** How it was configured: `basic`, `token`, `ecr`, … or `anonymous`. */
  readonly form: string;
  /** Globs over the repositories it is for. */
  readonly repositories: readonly string[];
  /** Undefined is anonymous. */
  readonly source: CredentialSource | undefined;
}

export interface AccountReport {
  readonly account: string;
  readonly form: string;
  readonly repositories: readonly string[];
  readonly result: ProbeResult;
  /** `none held`: there is nothing for this registry where it was looked for, so it is asked anonymously. */
  readonly credentials: "accepted" | "refused" | "not asked for" | "not known" | "none held" | "not for it";
  /** The image that was asked about by HEAD. */
  readonly image: (ProbeImage & { readonly found: "yes" | "no" | "denied" | "not known" }) | undefined;
  readonly limits: LimitsSaid | undefined;
  /** Where none was said: what the registry's family documents for such an account. */
  readonly documentedLimits: readonly DefaultLimit[];
  readonly retryAfterMs: number | undefined;
  readonly problem: string | undefined;
}

export interface AccountQuestion {
  readonly name: string;
  readonly endpoint: URL;
  readonly image: ProbeImage | undefined;
  readonly clock: Clock;
  /** For the registry, with its token server. */
  readonly timeoutMs: number;
  /** The registry wants credentials of whoever comes. */
  readonly challenged: boolean;
  /** Our credentials may go where it asks for them. */
  readonly mayShow: boolean;
  readonly family: Family | undefined;
}

export async function probeAccount(
  { name, endpoint, image, clock, timeoutMs, challenged, mayShow, family }: AccountQuestion,
  { form, repositories, source }: ProbedAccount,
  lineFor: (source: CredentialSource | undefined) => ProbeLine,
): Promise<AccountReport> {
  const time = new Deadline(clock);
  const askRegistry = () =>
    time.set(timeoutMs, `${name}: ${endpoint.host} did not answer within ${timeoutMs / 1000} s`);
  let unusable: Failure | undefined;
  const line = lineFor(
    source === undefined
      ? undefined
      : timed(source, {
          begin: () => time.set(CREDENTIAL_TIMEOUT_MS, `${name}: the credentials of ${source.account} did not come`),
          end: askRegistry,
          failed: (failure) => {
            unusable = failure;
          },
        }),
  );
  let limits: LimitsSaid | undefined;
  let credentials: AccountReport["credentials"] = "not known";
  let found: NonNullable<AccountReport["image"]>["found"] = "not known";
  // What could not be had, or may not go where it is asked for, was not refused by the upstream.
  const shown = () => line.holds && mayShow;
  const report = (failure?: Failure): AccountReport => ({
    account: line.account,
    form,
    repositories,
    result: failure === undefined ? "ok" : unusable === failure ? "unusable" : resultOf(failure),
    credentials: failure?.kind === "refused" && shown() ? "refused" : credentials,
    image: image === undefined ? undefined : { ...image, found },
    limits,
    documentedLimits: limits === undefined ? documentedLimits(family, line.holds ? "authenticated" : "anonymous") : [],
    retryAfterMs: failure?.retryAfterMs,
    problem: failure === undefined ? undefined : messageOf(failure),
  });
  const accepted = () => (form !== "anonymous" && line.looked && !line.holds ? "none held" : "accepted");
  const repository = parseRepository(image?.repository ?? SOME_REPOSITORY);
  const judge = (kind: "ping" | "manifest", reply: Reply) => {
    if (reply.url.origin === endpoint.origin) limits = findLimits(reply.answer.headers, clock.now()) ?? limits;
    return judgeReply(name, kind, reply, { wanted: [200], now: clock.now(), hide: line.hide });
  };
  const { signal } = time;
  askRegistry();
  try {
    const url = new URL(endpoint);
    url.pathname = `${endpoint.pathname.replace(/\/+$/, "")}/v2/`;
    const ping = await line.ask({ kind: "ping", method: "GET", url, repository, accept: "*/*", signal });
    const absent = isAbsence(ping) ? ping : judge("ping", ping);
    if (absent !== undefined) {
      credentials = accepted() === "none held" ? "none held" : credentials;
      throw denied(name, form !== "anonymous" && line.holds, image);
    }
    credentials = challenged ? accepted() : "not asked for";
    if (image === undefined) return report(usedUp(name, line.account, limits));
    const head = await line.ask({
      kind: "manifest",
      method: "HEAD",
      url: urlBelow(endpoint, repository, `manifests/${image.tag}`),
      repository,
      accept: ACCEPT_MANIFESTS,
      signal,
    });
    const missing = isAbsence(head) ? head : judge("manifest", head);
    if (!isAbsence(head) && head.authorization?.source === "granted") credentials = accepted();
    found = missing === undefined ? "yes" : missing.absent === "denied" ? "denied" : "no";
    if (found === "denied") return report(denied(name, form !== "anonymous" && line.holds, image));
    return report(usedUp(name, line.account, limits));
  } catch (error) {
    return report(toFailure(error));
  } finally {
    time.lift();
    await line.close();
  }
}

/** An account that is asked nothing, for it is not for the image. */
export function notForIt({ form, repositories, source }: ProbedAccount, image: ProbeImage): AccountReport {
  return {
    account: source?.account ?? "anonymous",
    ...{ form, repositories, result: "ok", credentials: "not for it" },
    image: { ...image, found: "not known" },
    ...{ limits: undefined, documentedLimits: [], retryAfterMs: undefined, problem: undefined },
  };
}

interface Watch {
  begin(): void;
  end(): void;
  failed(failure: Failure): void;
}

function timed(source: CredentialSource, watch: Watch): CredentialSource {
  return {
    account: source.account,
    async hold(asking) {
      watch.begin();
      try {
        return await source.hold(asking);
      } catch (error) {
        // Some ask the registry itself, whose no is a refusal like every other.
        if (isFailure(error) && error.upstreamStatus === undefined) watch.failed(error);
        throw error;
      } finally {
        watch.end();
      }
    },
    refused: (held) => source.refused(held),
  };
}

/** What was asked costs nothing of it, so it was answered all the same. */
function usedUp(name: string, account: string, limits: LimitsSaid | undefined): Failure | undefined {
  if (limits?.remaining !== 0) return undefined;
  const { resetMs } = limits;
  const text = `${name} allows ${account} no more pulls for now; add an account to upstreams.${name}.credentials, or wait`;
  return new Failure("limited", text, resetMs === undefined ? {} : { retryAfterMs: resetMs });
}

function denied(name: string, hasCredential: boolean, image: ProbeImage | undefined): Failure {
  const what = image === undefined ? "anything" : image.repository;
  const advice = hasCredential
    ? `give this account the right to pull it, or name another repository by --repository`
    : `set upstreams.${name}.credentials, or name a public repository by --repository`;
  const who = hasCredential ? "this account" : "anonymous clients";
  return new Failure("denied", `${name} does not let ${who} pull ${what}; ${advice}`);
}
