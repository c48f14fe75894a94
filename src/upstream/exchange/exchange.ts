/**
 * One question to an upstream from first request to last answer: authorization, the 401 dance, redirects by hand.
 *
 * The invariants: each origin's challenge is answered at most once per question, and what we hold is replaced by another
 * at most once; our authorization goes to the
 * registry's own origin only, and a host that a redirect leads to gets at most an anonymous token of its own.
 */
import { Failure } from "../../base/failure.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Authorization, Authorizer, Progress } from "../auth/authorizer.ts";
import { parseChallenges } from "../auth/challenge.ts";
import { findRepositoryIn, type Guests } from "../auth/guests.ts";
import type { Trial } from "../endpoints/circuit.ts";
import type { Answer, Lane, Method } from "../network/transport.ts";
import type { RequestKind } from "../notices.ts";
import { type Absence, isAbsence } from "../upstream.ts";
import type { Urgency } from "../urgency.ts";
import { isRedirect, judgeRedirect } from "./redirect.ts";
import type { Sender } from "./sender.ts";

export interface Question {
  readonly kind: RequestKind;
  readonly method: Method;
  readonly lane: Lane;
  readonly url: URL;
  readonly repository: Repository;
  readonly headers: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  readonly urgency: Urgency;
  /** Told what the registry itself answers. */
  readonly trial?: Trial;
}

export interface Reply {
  readonly answer: Answer;
  /** Who answered, after redirects. */
  readonly url: URL;
  readonly method: Method;
  /** True where another origin than the registry's own answered. */
  readonly elsewhere: boolean;
  /** What was sent with the last request. */
  readonly authorization: Authorization | undefined;
  /** Beginning of the body of a status from 400; the body itself is done with then. */
  readonly errorBody: string;
}

export interface ExchangeOptions {
  readonly name: string;
  readonly endpoint: URL;
  readonly sender: Sender;
  readonly authorizer: Authorizer;
  /** For hosts that a redirect led to: without credential. */
  readonly guests: Guests;
}

/**
 * Absence where the registry asks for what we cannot offer; otherwise whatever status it ended with.
 * @throws Failure `unreachable`, `refused`; or the signal's reason.
 */
export async function exchange(options: ExchangeOptions, question: Question): Promise<Reply | Absence> {
  const reply = await walk(options, question);
  if (isAbsence(reply) || question.method !== "HEAD") return reply;
  const { status } = reply.answer;
  const isRedirected = reply.url.href !== question.url.href;
  // A signed URL is made for one method, and registries sign for GET. A refusal of what we hold, or of what we ask for:
  // only a body tells which.
  const isUnclear = status === 403 && reply.authorization?.held !== undefined;
  const isForGet = isRedirected && (status === 403 || status === 405);
  return isForGet || isUnclear ? await walk(options, { ...question, method: "GET" }) : reply;
}

async function walk(options: ExchangeOptions, question: Question): Promise<Reply | Absence> {
  const { endpoint, sender, authorizer } = options;
  const { kind, method, lane, repository, signal, trial } = question;
  const authorizations = new Map<string, Authorization | undefined>();
  const progress = new Map<string, Progress>();
  const visited = [question.url.href];
  let url = question.url;
  authorizations.set(endpoint.origin, await authorizer.prepare(repository, signal));

  for (;;) {
    const authorization = authorizations.get(url.origin);
    try {
      const answer = await sender.send(url, {
        kind,
        method,
        lane,
        signal,
        ...(trial === undefined ? {} : { trial }),
        hadItsTurn: visited.length === 1 && progress.size === 0,
        headers: {
          ...question.headers,
          ...(authorization === undefined ? {} : { authorization: authorization.header }),
        },
      });
      const { status } = answer;
      if (status < 400 || status === 404) authorization?.attempt?.end("good");
      const home = url.origin === endpoint.origin;
      if (isRedirect(status)) {
        await sender.finish(answer);
        url = nextUrl(options, answer, url, visited);
        visited.push(url.href);
        if (authorizations.has(url.origin)) continue;
        const there = findRepositoryIn(url);
        const guest = there === undefined ? undefined : options.guests.find(url);
        if (there !== undefined) authorizations.set(url.origin, await guest?.prepare(there, signal));
        continue;
      }
      const errorBody = status >= 400 ? await sender.finish(answer) : "";
      const reply: Reply = { answer, url, method, elsewhere: !home, authorization, errorBody };
      const isSilent = status === 403 && method === "HEAD";
      const isRefused = home && !isSilent && authorizer.refusesHeld(status, errorBody, authorization);
      if (status !== 401 && !isRefused) return reply;
      const challenges = parseChallenges(answer.headers["www-authenticate"]);
      if (!home && challenges.length === 0) return reply;
      const tried = progress.get(url.origin) ?? { isChallengeAnswered: false, isReplaced: false };
      progress.set(url.origin, tried);
      const refused = { status, host: url.host, challenges, errorBody, used: authorization };
      const who = home ? authorizer : options.guests.open(url);
      const next = await who.answer(
        { ...refused, repository: home ? repository : findRepositoryIn(url) },
        tried,
        signal,
      );
      if (next === undefined) return reply;
      if (isAbsence(next)) return next;
      authorizations.set(url.origin, next);
    } finally {
      // Others may wait for what becomes of this credential.
      authorization?.attempt?.end("none");
    }
  }
}

function nextUrl(options: ExchangeOptions, answer: Answer, from: URL, visited: readonly string[]): URL {
  const { name, endpoint, sender, authorizer } = options;
  const { location } = answer.headers;
  const verdict = judgeRedirect({ location, from, endpoint, visited });
  if ("follow" in verdict) return verdict.follow;
  const target = typeof location === "string" ? URL.parse(location, from.href) : null;
  const message = `${name}: ${verdict.refuse} is not followed`;
  const detail = { from: sender.show(from), ...(target === null ? {} : { to: sender.show(target) }) };
  if (authorizer.refusals.mayTell("redirect")) sender.noteTrouble(message, detail);
  throw new Failure("unreachable", message, { upstreamStatus: answer.status });
}
