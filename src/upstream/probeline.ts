/**
 * The machinery of one upstream at one endpoint with one account, put together for a few questions and closed again.
 *
 * Nothing of it is shared with a running mirror: no token, no connection, no circuit, so that what is found is found now.
 */
import type { Clock } from "../base/clock.ts";
import { Notices } from "../base/notices.ts";
import type { Repository } from "../oci/reference.ts";
import { Authorizer } from "./authorizer.ts";
import { type ExchangeOptions, exchange, type Question, type Reply } from "./exchange.ts";
import type { Network } from "./network.ts";
import type { UpstreamNotices } from "./notices.ts";
import { accountOf, type Credential, type Timeouts, type UpstreamOptions } from "./options.ts";
import { Secrets } from "./secrets.ts";
import { Sender } from "./sender.ts";
import { Tokens } from "./tokens.ts";
import { askTokenServer } from "./tokenserver.ts";
import { type Answer, openTransport } from "./transport.ts";
import type { Absence } from "./upstream.ts";

export interface ProbeLineOptions {
  readonly name: string;
  readonly endpoint: URL;
  /** Undefined is anonymous. */
  readonly credential: Credential | undefined;
  readonly upstream: UpstreamOptions;
  readonly clock: Clock;
  readonly network: Network;
  readonly timeouts: Timeouts;
}

export interface ProbeLine {
  readonly account: string;
  /** `direct`, or the proxy. */
  readonly via: string;
  /** One request, with no credential and no redirect followed; the answer's body is read. */
  bare(url: URL, signal: AbortSignal): Promise<{ readonly answer: Answer; readonly body: string }>;
  /** A question as a pull asks it: challenge answered, redirects followed; the answer's body is done with. */
  ask(question: Pick<Question, "method" | "kind" | "url" | "signal"> & Asked): Promise<Reply | Absence>;
  /** A text of the upstream's without our secrets. */
  hide(text: string): string;
  close(): Promise<void>;
}

interface Asked {
  readonly repository: Repository;
  readonly accept: string;
}

/** @throws Failure `invalid` for an unreadable TLS file. */
export function openProbeLine(options: ProbeLineOptions): ProbeLine {
  const { name, endpoint, credential, upstream, clock, network, timeouts } = options;
  const transport = openTransport(name, [endpoint], upstream, timeouts, clock, network);
  const account = accountOf(credential);
  const sender = new Sender({
    name,
    endpoint,
    secrets: new Secrets(credential),
    transport,
    notices: new Notices<UpstreamNotices>(),
    clock,
    account,
    signature: "wharfinger (check)",
  });
  const authorizerAt = (origin: URL, own: boolean) => {
    const tokenRealm = own ? upstream.tokenRealm : null;
    const server = { name, sender, clock, endpoint: origin, tokenRealm, timeoutMs: timeouts.headersMs };
    return new Authorizer({
      name,
      endpoint: origin,
      credential: own ? credential : undefined,
      tokenRealm,
      tokens: new Tokens(clock),
      ask: (url, basic) => askTokenServer(server, url, basic),
      onTrouble: () => {},
      hide: (text) => sender.hide(text),
    });
  };
  const parts: ExchangeOptions = {
    name,
    endpoint,
    sender,
    authorizer: authorizerAt(endpoint, true),
    guestOf: (origin) => authorizerAt(origin, false),
  };
  return {
    account,
    via: "direct",
    async bare(url, signal) {
      const headers = { accept: "*/*" };
      const answer = await sender.send(url, { kind: "ping", method: "GET", lane: "small", headers, signal });
      return { answer, body: await sender.finish(answer) };
    },
    async ask({ accept, ...question }) {
      const reply = await exchange(parts, { ...question, lane: "small", headers: { accept } });
      if ("answer" in reply) reply.answer.body.destroy();
      return reply;
    },
    hide: (text) => sender.hide(text),
    close: () => transport.close(),
  };
}
