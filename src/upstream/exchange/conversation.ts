/**
 * How one upstream is talked to, whatever the question: at the endpoint that answers, as the account that has most left,
 * within its time, asked again where that helps; the answer judged and its body read or handed on.
 *
 * The invariant: every answer's body is read to its end, destroyed, or in the hands of the caller.
 */
import { type Clock, pause } from "../../base/clock.ts";
import { Failure, isFailure } from "../../base/failure.ts";
import type { Flow } from "../../base/flow.ts";
import type { Emitter } from "../../base/notices.ts";
import type { Repository } from "../../oci/reference.ts";
import type { Account } from "../auth/account.ts";
import { type Choice, Dealings } from "../auth/dealings.ts";
import type { Trial } from "../endpoints/circuit.ts";
import { type Endpoint, Endpoints } from "../endpoints/endpoints.ts";
import { planRetry } from "../endpoints/retry.ts";
import { RetryBudget } from "../endpoints/retrybudget.ts";
import { Bandwidth } from "../limits/bandwidth.ts";
import type { BudgetView } from "../limits/budget.ts";
import { Rate } from "../limits/rate.ts";
import { Slots } from "../limits/slots.ts";
import type { Network } from "../network/network.ts";
import { type Answer, headerOf, openTransport, type Transport } from "../network/transport.ts";
import type { UpstreamNotices } from "../notices.ts";
import { DEFAULT_TIMEOUTS, type Timeouts, type UpstreamOptions } from "../options.ts";
import { type Absence, isAbsence } from "../upstream.ts";
import type { Urgency } from "../urgency.ts";
import { type Announced, openBody, readNothing, readWhole } from "./body.ts";
import { codingOf, decodeWhole } from "./coding.ts";
import { Deadline } from "./deadline.ts";
import { exchange, type Question, type Reply } from "./exchange.ts";
import { contentLengthOf, judgeReply, mediaTypeOf } from "./outcome.ts";
import type { Sender } from "./sender.ts";
import { failureOf } from "./trouble.ts";

export interface UpstreamSurroundings {
  readonly notices: Emitter<UpstreamNotices>;
  readonly clock: Clock;
  /** How this mirror signs requests in `Via`, so that it knows one that comes back to it; default `wharfinger`. */
  readonly signature?: string;
  readonly network?: Network | undefined;
}

/** One question, with the statuses that answer it. */
export type Call = Omit<Question, "signal" | "headers" | "url" | "onRedirect"> & {
  /** Where it is asked, below an endpoint. */
  readonly at: (endpoint: URL) => URL;
  readonly accept: string;
  readonly range?: string | undefined;
  readonly wanted: readonly number[];
  readonly urgency: Urgency;
};

/** A reply, and who takes care of its time. */
type Use<T> = (reply: Reply, time: Deadline) => T | Promise<T>;

/** How long an endpoint may take for its headers while there is another to ask. */
const ATTEMPT_MS = 5000;
/** What is left for the upstream of a time that went by in our own lines. */
const MIN_ATTEMPT_MS = 2000;
/** In each of our own lines; a client waits for an answer's beginning for 30 s. */
const LINE_PATIENCE_MS = { miss: 12_000, refresh: 5000 };
/** For how long whoever has nothing else waits for an endpoint's circuit. */
const MAX_CLOSED_MS = 2000;

export class Conversation {
  readonly #name: string;
  readonly #clock: Clock;
  readonly #notices: Emitter<UpstreamNotices>;
  readonly #timeouts: Timeouts;
  readonly #transport: Transport;
  readonly #endpoints: Endpoints;
  readonly #dealings: Dealings;
  readonly #retries: RetryBudget;
  /** Small answers queue here and not in the transport, which knows no urgency. */
  readonly #slots: Slots;
  readonly #rate: Rate | undefined;
  readonly #bandwidth: Bandwidth | undefined;

  /** @throws Failure `invalid` for an unreadable TLS file. */
  constructor(
    name: string,
    endpoints: readonly [URL, ...URL[]],
    options: UpstreamOptions,
    surroundings: UpstreamSurroundings,
  ) {
    const { notices, clock, signature = "wharfinger", network } = surroundings;
    this.#name = name;
    this.#retries = new RetryBudget(surroundings.clock);
    this.#clock = clock;
    this.#notices = notices;
    this.#timeouts = { ...DEFAULT_TIMEOUTS, ...options.timeouts };
    this.#transport = openTransport(name, endpoints, options, this.#timeouts, clock, network, (message) =>
      notices.emit("upstreamTrouble", { upstream: name, message }),
    );
    this.#endpoints = new Endpoints(endpoints, clock, (url, state, best) =>
      notices.emit("upstreamCircuit", {
        ...{ upstream: name, endpoint: url.origin, state, best },
        reason: state === "closed" ? undefined : this.#troubleAt(url),
      }),
    );
    const line = { upstream: name, clock, patienceMs: LINE_PATIENCE_MS };
    const { connections, requestsPerSecond, bandwidth } = options.limits;
    this.#slots = new Slots(connections, { ...line, setting: "connections" });
    this.#rate = typeof requestsPerSecond === "number" ? new Rate(requestsPerSecond, line) : undefined;
    this.#bandwidth = typeof bandwidth === "number" ? new Bandwidth(bandwidth, clock) : undefined;
    this.#dealings = new Dealings(name, options, {
      ...{ notices, clock, signature, transport: this.#transport, rate: this.#rate },
      timeoutMs: this.#timeouts.headersMs,
      home: endpoints[0],
    });
    if (options.credentials.length > 0) this.#tellStrangers(endpoints);
  }

  #tellStrangers(endpoints: readonly URL[]): void {
    for (const endpoint of endpoints.filter((url) => !this.#dealings.isShownAt(url))) {
      const message = `${this.#name}: no credentials are shown at ${endpoint.host}: it is of another site than url`;
      this.#notices.emit("upstreamTrouble", { upstream: this.#name, message });
    }
  }

  /** Headers only. */
  head<T>(call: Call, signal: AbortSignal, read: (answer: Answer) => T): Promise<T | Absence> {
    return this.#ask(call, signal, ({ answer, method }) => {
      // A HEAD's body is empty and frees its connection; that of a GET in its place may be gigabytes.
      if (method === "HEAD") readNothing(answer.body);
      else answer.body.destroy();
      return read(answer);
    });
  }

  /** A whole body of at most `maxBytes`, decoded. @throws Failure `corrupt` where it is larger. */
  document<T>(
    call: Call,
    maxBytes: number,
    signal: AbortSignal,
    read: (bytes: Buffer, answer: Answer, mediaType: string | undefined) => T,
  ): Promise<T | Absence> {
    return this.#ask(call, signal, async (reply, time) => {
      const { answer } = reply;
      time.set(this.#timeouts.bodyMs, `${this.#name} did not send the whole of its answer in time`);
      const announced = this.#announced(reply, contentLengthOf(answer), time.signal);
      const bytes = await readWhole(this.#paced(answer), maxBytes, announced);
      const decoded = await decodeWhole(bytes, codingOfAnswer(answer), maxBytes);
      return read(decoded, answer, mediaTypeOf(this.#name, answer));
    });
  }

  /**
   * A body as a flow; `read` says how many bytes it must bring, and may refuse it by a throw. The time limit ends with
   * the headers, the signal governs the body as well.
   * @param onEnd called when no more bytes come, of a body that `read` opened.
   */
  stream<T>(
    call: Call,
    signal: AbortSignal,
    read: (answer: Answer, open: (bytes: number | undefined) => Flow) => T,
    onEnd: () => void,
  ): Promise<T | Absence> {
    return this.#ask(call, signal, (reply, time) => {
      const { answer } = reply;
      try {
        return read(answer, (bytes) =>
          openBody(this.#paced(answer), codingOfAnswer(answer), this.#announced(reply, bytes, time.signal, onEnd)),
        );
      } catch (error) {
        answer.body.destroy();
        throw error;
      }
    });
  }

  budget(repository: Repository): BudgetView {
    const { endpoint } = this.#endpoints.choose("miss", repository);
    return this.#dealings.budget(endpoint.url, repository);
  }

  async close(): Promise<void> {
    this.#rate?.close();
    this.#bandwidth?.close();
    await this.#transport.close();
  }

  async #ask<T>(call: Call, signal: AbortSignal, use: Use<T>): Promise<T | Absence> {
    const startedAt = this.#clock.now();
    if (call.lane === "blob") return await this.#insist(call, startedAt, signal, use);
    const release = await this.#slots.take(signal, { urgency: call.urgency, key: call.repository });
    try {
      return await this.#insist(call, startedAt, signal, use);
    } finally {
      release();
    }
  }

  /** Asks until there is an answer, or nothing more to try within the time for all of it. */
  async #insist<T>(call: Call, startedAt: number, signal: AbortSignal, use: Use<T>): Promise<T | Absence> {
    const { urgency, repository } = call;
    const leftMs = () => this.#timeouts.headersMs - Math.max(0, this.#clock.now() - startedAt);
    const tried = new Set<Endpoint>();
    this.#retries.note();
    /** How it failed at the last endpoint that was asked. */
    let before: Failure | undefined;
    for (let attempts = 1; ; attempts++) {
      const { endpoint, trial } = await this.#begin(call, tried, leftMs, signal);
      tried.add(endpoint);
      const elsewhere = this.#endpoints.hasOther(urgency, repository, tried);
      try {
        const limitMs = Math.max(MIN_ATTEMPT_MS, elsewhere ? Math.min(ATTEMPT_MS, leftMs()) : leftMs());
        return await this.#attempt(call, endpoint, trial, limitMs, signal, use);
      } catch (error) {
        // What was broken off by the caller is the caller's reason, as everywhere.
        signal.throwIfAborted();
        if (!isFailure(error)) throw error;
        const isNo = error instanceof Unbelieved;
        const failure = isNo ? this.#doubted(error, before, repository) : error;
        if (error.kind === "limited" && error.upstreamStatus === undefined) {
          this.#notices.emit("upstreamWithheld", { upstream: this.#name });
        }
        const random = Math.random();
        const delayMs = planRetry({ failure, attempts, leftMs: leftMs(), urgency, elsewhere, random });
        // The same no would come again, unless one of those before it can be asked by then.
        const firstMs = isNo && !elsewhere ? (this.#endpoints.all[0]?.circuit.waitMs(urgency, repository) ?? 0) : 0;
        const isVain = firstMs > Math.min(MAX_CLOSED_MS, leftMs());
        if (delayMs === undefined || isVain || !(elsewhere || this.#retries.take())) throw failure;
        this.#notices.emit("upstreamRetried", { upstream: this.#name, reason: failure.message });
        if (!isNo) before = failure;
        const pauseMs = Math.max(delayMs, firstMs);
        if (pauseMs > 0) await pause(this.#clock, pauseMs, signal);
      }
    }
  }

  /**
   * The endpoint to ask, when it may be asked and we have had our turn in our own line.
   * @throws Failure `unreachable` where that is too long; `overloaded` by the line.
   */
  async #begin(
    { urgency, repository }: Call,
    tried: ReadonlySet<Endpoint>,
    leftMs: () => number,
    signal: AbortSignal,
  ): Promise<{ readonly endpoint: Endpoint; readonly trial: Trial }> {
    let hasTurn = this.#rate === undefined;
    for (;;) {
      const { endpoint, waitMs } = this.#endpoints.choose(urgency, repository, tried);
      if (waitMs > 0) {
        const isTooLong = urgency === "refresh" || waitMs > Math.min(MAX_CLOSED_MS, leftMs());
        if (isTooLong) throw this.#closed(waitMs, repository);
        await pause(this.#clock, waitMs, signal);
      } else if (hasTurn) {
        return { endpoint, trial: endpoint.circuit.begin(repository) };
      } else {
        // Before its time begins: our own line is not the upstream's silence. Whom to ask may be another after it.
        await this.#rate?.take(signal, { urgency, key: repository });
        hasTurn = true;
      }
    }
  }

  /** As one account after another, as long as that is what it fails for and there is another that may ask. */
  async #attempt<T>(
    call: Call,
    endpoint: Endpoint,
    trial: Trial,
    limitMs: number,
    signal: AbortSignal,
    use: Use<T>,
  ): Promise<T | Absence> {
    const { url } = endpoint;
    const time = new Deadline(this.#clock, signal);
    time.set(limitMs, `${this.#name} did not answer in time`);
    const passed = new Map<Account, Failure>();
    const isLater = this.#endpoints.isLater(endpoint);
    try {
      for (;;) {
        const choice = this.#dealings.choose(url, call.repository, call, passed);
        const { account } = choice.dealing;
        try {
          return await this.#askAs(choice, call, endpoint, trial, time, use);
        } catch (error) {
          if (time.signal.aborted || !isFailure(error) || !isOfAccount(error, account, endpoint.url)) throw error;
          passed.set(account, error);
          if (!this.#dealings.hasOther(url, call.repository, call, passed)) {
            throw isLater && error.kind === "refused" ? new Unbelieved(url, error) : error;
          }
          this.#notices.emit("upstreamRetried", { upstream: this.#name, reason: error.message });
        }
      }
    } finally {
      trial.end();
      time.lift();
    }
  }

  async #askAs<T>(
    { dealing, instead }: Choice,
    call: Call,
    endpoint: Endpoint,
    trial: Trial,
    time: Deadline,
    use: Use<T>,
  ): Promise<T | Absence> {
    const { accept, range, at, kind, method, lane, repository, urgency } = call;
    const reply = await exchange(dealing.exchange, {
      ...{ kind, method, lane, repository, urgency },
      url: at(endpoint.url),
      headers: { accept, ...(range === undefined ? {} : { range }) },
      ...{ signal: time.signal, trial },
    });
    const absence = isAbsence(reply) ? reply : this.#judged(call, reply, dealing.sender, dealing.budget.waitMs(call));
    if (absence !== undefined && instead !== undefined) throw instead;
    if (absence !== undefined && this.#endpoints.isLater(endpoint)) throw new Unbelieved(endpoint.url);
    return absence ?? (isAbsence(reply) ? reply : await use(reply, time));
  }

  /** Undefined where the reply is of a wanted status, its body still to be read. */
  #judged(call: Call, reply: Reply, sender: Sender, budgetMs: number): Absence | undefined {
    const hide = (text: string) => sender.hide(text);
    try {
      const now = this.#clock.now();
      const absence = judgeReply(this.#name, call.kind, reply, { wanted: call.wanted, now, hide, budgetMs });
      if (absence !== undefined) reply.answer.body.destroy();
      return absence;
    } catch (error) {
      reply.answer.body.destroy();
      throw error;
    }
  }

  #troubleAt(url: URL): string | undefined {
    return this.#endpoints.all.find((endpoint) => endpoint.url === url)?.circuit.troubleFor("")?.message;
  }

  #paced({ body }: Answer): Flow {
    return this.#bandwidth?.limit(body) ?? body;
  }

  /** What is told in the place of a no by an endpoint that is not the first. */
  #doubted({ endpoint, cause }: Unbelieved, before: Failure | undefined, repository: Repository): Failure {
    if (before?.kind === "limited") return before;
    const why = before ?? this.#endpoints.troubleFor(repository);
    const rest = why === undefined ? "" : ` (${why.message})`;
    const no = isFailure(cause) ? "refuses this mirror" : "does not have it";
    const message = `${this.#name}: ${endpoint.host} ${no}, and those before it do not answer${rest}`;
    return new Failure("unreachable", message, why === undefined ? {} : { cause: why });
  }

  #closed(waitMs: number, repository: Repository): Failure {
    const why = this.#endpoints.troubleFor(repository);
    const message = `${this.#name} does not answer${why === undefined ? "" : ` (${why.message})`}; it is asked again in ${Math.ceil(waitMs / 1000)} s`;
    return new Failure("unreachable", message, { retryAfterMs: waitMs, ...(why === undefined ? {} : { cause: why }) });
  }

  #announced(reply: Reply, bytes: number | undefined, signal: AbortSignal, onEnd = () => {}): Announced {
    return {
      bytes,
      explain: (error) => {
        if (!signal.aborted) return failureOf(error, this.#name, reply.url);
        const reason: unknown = signal.reason;
        return isFailure(reason) ? reason : new Failure("unreachable", "the request was given up", { cause: reason });
      },
      onEnd: (received) => {
        onEnd();
        if (received > 0) this.#notices.emit("upstreamBytes", { upstream: this.#name, bytes: received });
      },
    };
  }
}

/**
 * A no by an endpoint that is asked in the place of another: copies lag behind and know other accounts, so that it says nothing
 * of what the first one has.
 */
class Unbelieved extends Failure {
  readonly endpoint: URL;

  constructor(endpoint: URL, cause?: Failure) {
    super("unreachable", `${endpoint.host} does not have it`, cause === undefined ? {} : { cause });
    this.endpoint = endpoint;
  }
}

/** Might another account be answered otherwise? */
function isOfAccount(failure: Failure, account: Account, endpoint: URL): boolean {
  return failure.kind === "refused" || failure.kind === "limited" || account.findTrouble(endpoint) !== undefined;
}

export function codingOfAnswer(answer: Answer): string {
  return codingOf(headerOf(answer, "content-encoding"));
}
