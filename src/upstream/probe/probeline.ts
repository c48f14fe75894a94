/**
 * The machinery of one upstream at one endpoint with one account, put together for a few questions and closed again.
 *
 * Nothing of it is shared with a running mirror: no token, no connection, no circuit, so that what is found is found now.
 */
import type { Clock } from "../../base/clock.ts";
import { Notices } from "../../base/notices.ts";
import { parseRepository, type Repository } from "../../oci/reference.ts";
import { Dealings } from "../auth/dealings.ts";
import type { CredentialSource } from "../credentials/credential.ts";
import { exchange, type Question, type Reply } from "../exchange/exchange.ts";
import type { Network } from "../network/network.ts";
import { Proxies } from "../network/proxies.ts";
import { type Answer, openTransport } from "../network/transport.ts";
import type { UpstreamNotices } from "../notices.ts";
import type { Timeouts, UpstreamOptions } from "../options.ts";
import type { Absence } from "../upstream.ts";

export interface ProbeLineOptions {
  readonly name: string;
  readonly endpoint: URL;
  /** Undefined is anonymous. */
  readonly source: CredentialSource | undefined;
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
  /** There was something to show. */
  readonly holds: boolean;
  /** It was looked whether there is. */
  readonly looked: boolean;
  /** A text of the upstream's without our secrets. */
  hide(text: string): string;
  /** A URL of the upstream's without them. */
  show(url: URL): string;
  close(): Promise<void>;
}

interface Asked {
  readonly repository: Repository;
  readonly accept: string;
}

/** Any: who is shown does not hang on it here. */
const SOME_REPOSITORY = parseRepository("wharfinger/check");

/** @throws Failure `invalid` for an unreadable TLS file, or a variable that names no proxy. */
export function openProbeLine(options: ProbeLineOptions): ProbeLine {
  const { name, endpoint, source, upstream, clock, network, timeouts } = options;
  const proxy = new Proxies(network.env ?? process.env).find(endpoint);
  const transport = openTransport(name, [endpoint], upstream, timeouts, clock, network);
  let holds = false;
  let looked = false;
  const watch = (of: CredentialSource): CredentialSource => ({
    account: of.account,
    hold: async (asking) => {
      const held = await of.hold(asking);
      holds = held !== undefined;
      looked = true;
      return held;
    },
    refused: (held) => of.refused(held),
  });
  const credentials = source === undefined ? [] : [{ source: watch(source), repositories: ["**"] }];
  const dealings = new Dealings(
    name,
    { ...upstream, credentials },
    {
      notices: new Notices<UpstreamNotices>(),
      clock,
      signature: "wharfinger (check)",
      transport,
      rate: undefined,
      timeoutMs: timeouts.headersMs,
      home: endpoint,
    },
  );
  const { dealing } = dealings.choose(endpoint, SOME_REPOSITORY, { kind: "ping", method: "GET" });
  const { sender } = dealing;
  return {
    account: dealing.account.name,
    via: proxy === undefined ? "direct" : `by way of the proxy ${proxy.host}`,
    async bare(url, signal) {
      const headers = { accept: "*/*" };
      const answer = await sender.send(url, { kind: "ping", method: "GET", lane: "small", headers, signal });
      return { answer, body: await sender.finish(answer) };
    },
    async ask({ accept, ...question }) {
      const reply = await exchange(dealing.exchange, {
        ...question,
        lane: "small",
        urgency: "miss",
        headers: { accept },
      });
      if ("answer" in reply) reply.answer.body.destroy();
      return reply;
    },
    get holds() {
      return holds;
    },
    get looked() {
      return looked;
    },
    hide: (text) => sender.hide(text),
    show: (url) => sender.show(url),
    close: () => transport.close(),
  };
}
