/**
 * Asking a token server. The realm has been judged; every redirect from there is judged as a realm again, so that a
 * credential follows nowhere that it could not have gone at first.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import { refusedBy } from "./authorizer.ts";
import { readWhole } from "./body.ts";
import { codingOf, decodeWhole } from "./coding.ts";
import { Deadline } from "./deadline.ts";
import { judgeRealm } from "./realm.ts";
import { redactUrl } from "./redact.ts";
import { isRedirect, MAX_HOPS } from "./redirect.ts";
import type { Sender } from "./sender.ts";
import { MAX_TOKEN_ANSWER_BYTES } from "./tokens.ts";
import { type Answer, headerOf } from "./transport.ts";
import { failureOf, failureOfAnswer } from "./trouble.ts";
import type { Absence } from "./upstream.ts";

export interface TokenServerOptions {
  readonly name: string;
  readonly sender: Sender;
  readonly clock: Clock;
  readonly endpoint: URL;
  readonly tokenRealm: string | null;
  readonly timeoutMs: number;
}

/** The body of a 200. Runs by its own time limit: several callers wait for it, none of them owns it. */
export async function askTokenServer(
  options: TokenServerOptions,
  realm: URL,
  basic: string | undefined,
): Promise<Buffer | Absence> {
  const { name, sender, clock } = options;
  const deadline = new Deadline(clock);
  deadline.set(options.timeoutMs, `${name}: its token server ${realm.host} did not answer in time`);
  try {
    let url = realm;
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const answer = await sender.send(url, {
        kind: "token",
        method: "GET",
        lane: "small",
        headers: { accept: "application/json", ...(basic === undefined ? {} : { authorization: basic }) },
        signal: deadline.signal,
      });
      if (answer.status === 200) {
        const from = url;
        const body = await readWhole(answer.body, MAX_TOKEN_ANSWER_BYTES, {
          bytes: undefined,
          explain: (error) =>
            deadline.signal.aborted && isFailure(deadline.signal.reason)
              ? deadline.signal.reason
              : failureOf(error, name, from),
          onEnd: (bytes) => sender.noteBytes(bytes),
        });
        return await decodeWhole(body, codingOf(headerOf(answer, "content-encoding")), MAX_TOKEN_ANSWER_BYTES);
      }
      const text = await sender.finish(answer);
      if (!isRedirect(answer.status)) {
        const failure = failureOfAnswer(`${name}: its token server ${sender.hide(redactUrl(url))}`, {
          status: answer.status,
          contentType: headerOf(answer, "content-type"),
          body: text,
          retryAfterMs: sender.retryAfterOf(answer),
          hide: (said) => sender.hide(said),
        });
        if (answer.status !== 401 && answer.status !== 403) throw failure;
        // Some answer DENIED for a repository that the account may not read, or that does not exist.
        if (basic === undefined || (answer.status === 403 && /"DENIED"/.test(text))) return { absent: "denied" };
        throw refusedBy(name, failure);
      }
      url = nextRealm(options, url, answer.headers.location, basic !== undefined);
    }
    throw new Failure("unreachable", `${name}: its token server ${realm.host} redirects too often`);
  } finally {
    deadline.lift();
  }
}

function nextRealm(
  options: TokenServerOptions,
  from: URL,
  location: Answer["headers"][string],
  withCredential: boolean,
): URL {
  const { name, endpoint, tokenRealm, sender } = options;
  // Two of them are none: which one counts is anybody's guess.
  const target = typeof location === "string" ? URL.parse(location, from.href) : null;
  const verdict = judgeRealm({ realm: target?.href ?? "", endpoint, tokenRealm, withCredential });
  if ("ask" in verdict) return verdict.ask;
  const message = `${name}: a redirect of its token server is not followed: ${verdict.refuse}`;
  sender.noteTrouble(message, target === null ? undefined : { realm: sender.hide(redactUrl(target)) });
  throw new Failure("refused", message);
}
