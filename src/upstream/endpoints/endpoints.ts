/**
 * The places where one upstream's content can be had, in the order of the configuration, each with its circuit.
 */
import type { Clock } from "../../base/clock.ts";
import type { Failure } from "../../base/failure.ts";
import type { Urgency } from "../urgency.ts";
import { Circuit, type CircuitState } from "./circuit.ts";

export interface Endpoint {
  readonly url: URL;
  readonly circuit: Circuit;
}

export interface Choice {
  readonly endpoint: Endpoint;
  /** 0 where it may be asked now. */
  readonly waitMs: number;
}

export class Endpoints {
  readonly all: readonly Endpoint[];

  /** @param changed is told of every change; `best` is the state of the best of them. */
  constructor(
    urls: readonly [URL, ...URL[]],
    clock: Clock,
    changed: (endpoint: URL, state: CircuitState, best: CircuitState) => void,
  ) {
    this.all = urls.map((url) => ({
      url,
      circuit: new Circuit(clock, (state) => changed(url, state, this.#best())),
    }));
  }

  /**
   * The first that may be asked for the repository now; where none may, the one that may soonest.
   * @param tried of this question, which has the others asked first.
   */
  choose(urgency: Urgency, repository: string, tried: ReadonlySet<Endpoint> = new Set()): Choice {
    const choices = this.all.map((endpoint) => ({ endpoint, waitMs: endpoint.circuit.waitMs(urgency, repository) }));
    const open = choices.filter(({ waitMs }) => waitMs === 0);
    const choice =
      open.find(({ endpoint }) => !tried.has(endpoint)) ??
      open[0] ??
      choices.toSorted((left, right) => left.waitMs - right.waitMs)[0];
    if (choice === undefined) throw new Error("an upstream without endpoints");
    return choice;
  }

  /** One that is asked only where those before it were passed over. */
  isLater(endpoint: Endpoint): boolean {
    return endpoint !== this.all[0];
  }

  /** Is there another than those tried that may be asked now? */
  hasOther(urgency: Urgency, repository: string, tried: ReadonlySet<Endpoint>): boolean {
    return this.all.some((endpoint) => !tried.has(endpoint) && endpoint.circuit.waitMs(urgency, repository) === 0);
  }

  /** How the last one failed that is not asked for the repository now. */
  troubleFor(repository: string): Failure | undefined {
    return this.all.map(({ circuit }) => circuit.troubleFor(repository)).findLast((trouble) => trouble !== undefined);
  }

  #best(): CircuitState {
    const states = this.all.map(({ circuit }) => circuit.state);
    return states.includes("closed") ? "closed" : states.includes("slow") ? "slow" : "open";
  }
}
