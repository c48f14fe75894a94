/**
 * The access log's line: an answered request as one JSON object, put together by hand.
 *
 * It is written for every request there is, and a general serializer takes longer for it than the answer itself. The
 * shape is that of every other line of the log. Validated fields are written as they are; the client's free text is
 * redacted, once for each text.
 */
import type { AnsweredFact } from "../mirror/notices.ts";
import { errorFields } from "./fault-fields.ts";
import { redact } from "./redact.ts";

const MAX_TEXTS = 500;
/** Needs no escape in a JSON string. */
const PLAIN = /^[ !#-[\]-~]*$/;

export class AccessLines {
  readonly #time: () => string;
  readonly #agents = new Map<string, string>();

  /** @param time makes the time member, with a comma before it. */
  constructor(time: () => string) {
    this.#time = time;
  }

  /** With its line end. Fields that are undefined are not written. */
  make(level: string, fact: AnsweredFact): string {
    const { upstream, repository, reference, firstByteMs, remoteAddress, userAgent, aborted, error } = fact;
    let line = `{"level":"${level}"${this.#time()},"method":${quoted(fact.method)}`;
    if (upstream !== undefined) line += `,"upstream":${quoted(upstream)}`;
    line += `,"kind":"${fact.kind}"`;
    if (repository !== undefined) line += `,"repository":${quoted(repository)}`;
    if (reference !== undefined) line += `,"reference":${quoted(reference)}`;
    line += `,"status":${fact.status},"bytes":${fact.bytes}`;
    if (firstByteMs !== undefined) line += `,"firstByteMs":${rounded(firstByteMs)}`;
    line += `,"totalMs":${rounded(fact.totalMs)},"cache":"${fact.cache}","requestId":${quoted(fact.requestId)}`;
    if (remoteAddress !== undefined) line += `,"remoteAddress":${quoted(remoteAddress)}`;
    if (userAgent !== undefined) line += `,"userAgent":${this.#agent(userAgent)}`;
    if (aborted) line += ',"aborted":true';
    if (error !== undefined) line += `,"err":${JSON.stringify(errorFields(error))}`;
    return `${line},"msg":"answered"}\n`;
  }

  /** Clients are few and say the same each time. */
  #agent(agent: string): string {
    let text = this.#agents.get(agent);
    if (text === undefined) {
      text = JSON.stringify(redact(agent));
      if (this.#agents.size >= MAX_TEXTS) this.#agents.clear();
      this.#agents.set(agent, text);
    }
    return text;
  }
}

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
