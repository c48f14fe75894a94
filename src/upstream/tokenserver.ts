/**
 * Asking a token server. The realm has been judged; every redirect from there is judged as a realm again, so that a
 * credential follows nowhere that it could not have gone at first.
 */
import type { Clock } from "../base/clock.ts";
import { Failure, isFailure } from "../base/failure.ts";
import { readWhole } from "./body.ts";
import { codingOf, decodeWhole } from "./coding.ts";
import { Deadline } from "./deadline.ts";
import { judgeRealm } from "./realm.ts";
import { redactUrl } from "./redact.ts";
import { isRedirect, MAX_HOPS } from "./redirect.ts";
import type { Secrets } from "./secrets.ts";
import type { Letter, Sender } from "./sender.ts";
import { MAX_TOKEN_ANSWER_BYTES } from "./tokens.ts";
import { type Answer, headerOf } from "./transport.ts";
import { failureOf, failureOfAnswer, refusedBy } from "./trouble.ts";
import type { Absence } from "./upstream.ts";

export interface TokenServerOptions {
  readonly name: string;
  readonly sender: Sender;
  readonly secrets: Secrets;
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
  const headers = { accept: "application/json", ...(basic === undefined ? {} : { authorization: basic }) };
  const reply = await visit(options, realm, { method: "GET", headers }, basic !== undefined);
  if (reply.body !== undefined) return reply.body;
  const { status, text, failure } = reply;
  if (status !== 401 && status !== 403) throw failure;
  // Some answer DENIED for a repository that the account may not read, or that does not exist.
  if (basic === undefined || (status === 403 && /"DENIED"/.test(text))) return { absent: "denied" };
  throw refusedBy(options.name, failure);
}

/**
 * Posts a form that holds credentials to where they may go; the body of a 200.
 * @throws Failure `refused`, `limited`, `unreachable`; or the signal's reason.
 */
export async function postForm(
  options: TokenServerOptions,
  url: URL,
  form: URLSearchParams,
  signal?: AbortSignal,
): Promise<Buffer> {
  options.secrets.noteForm(form);
  const verdict = judgeRealm({ ...options, realm: url.href, withCredential: true });
  if ("refuse" in verdict) {
    const message = `${options.name}: nothing is sent to ${url.host}: ${verdict.refuse}`;
    options.sender.noteTrouble(message, { realm: options.sender.hide(redactUrl(url)) });
    throw new Failure("refused", message);
  }
  const headers = { accept: "application/json", "content-type": "application/x-www-form-urlencoded" };
  const reply = await visit(options, verdict.ask, { method: "POST", headers, body: form.toString() }, true, signal);
  if (reply.body !== undefined) return reply.body;
  const { status, text, failure } = reply;
  // RFC 6749 §5.2 tells a bad grant with 400, and 401 only where a client has to authenticate.
  const isRefusal = status === 401 || status === 403 || (status === 400 && /"invalid_(?:grant|client)"/.test(text));
  throw isRefusal ? refusedBy(options.name, failure) : failure;
}

type Reply =
  | { readonly status: 200; readonly body: Buffer }
  /** Any other status, with the beginning of its body. */
  | { readonly status: number; readonly text: string; readonly failure: Failure; readonly body?: undefined };

/** One question, followed through redirects. */
async function visit(
  options: TokenServerOptions,
  realm: URL,
  question: Pick<Letter, "method" | "headers" | "body">,
  withCredential: boolean,
  signal?: AbortSignal,
): Promise<Reply> {
  const { name, sender, clock } = options;
  const deadline = new Deadline(clock, signal);
  deadline.set(options.timeoutMs, `${name}: its token server ${realm.host} did not answer in time`);
  try {
    let url = realm;
    for (let hop = 0; hop <= MAX_HOPS; hop++) {
      const answer = await sender.send(url, { ...question, kind: "token", lane: "small", signal: deadline.signal });
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
        const coding = codingOf(headerOf(answer, "content-encoding"));
        return { status: 200, body: await decodeWhole(body, coding, MAX_TOKEN_ANSWER_BYTES) };
      }
      const text = await sender.finish(answer);
      // A form is sent on only where the same is asked for again (RFC 9110 §15.4).
      const follows = question.method === "POST" ? answer.status === 307 || answer.status === 308 : true;
      if (!isRedirect(answer.status) || !follows) {
        const failure = failureOfAnswer(`${name}: its token server ${sender.hide(redactUrl(url))}`, {
          status: answer.status,
          contentType: headerOf(answer, "content-type"),
          body: text,
          retryAfterMs: sender.retryAfterOf(answer),
          hide: (said) => sender.hide(said),
        });
        return { status: answer.status, text, failure };
      }
      url = nextRealm(options, url, answer.headers.location, withCredential);
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
