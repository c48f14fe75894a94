/**
 * What a scenario is given, and what it gives back.
 *
 * Servers that are compared get the same core, the client another; where a scenario pins nothing, it pins nothing for
 * all alike. A peer that is missing, fails or answers wrong is told about and left out; the mirror's failure is the
 * scenario's.
 */
import { availableParallelism } from "node:os";
import { type Finding, type FindingDetails, finding } from "./figures.ts";
import type { Library, LibraryBlob } from "./library.ts";
import { type MirrorSettings, startMirror } from "./mirror.ts";
import { startNginx } from "./nginx.ts";
import type { Origin } from "./origin.ts";
import { type PeerFile, startPeer } from "./peerfile.ts";
import { MissingProgram } from "./programs.ts";
import { Puller } from "./pull.ts";
import { startRegistry } from "./registry.ts";
import { inTurn, type Measure, type Sample, seriesOf } from "./samples.ts";
import type { Served } from "./served.ts";

export interface Trouble {
  /** Only "failed" makes the run fail: the others say why there is no figure. */
  readonly kind: "missing" | "not ranked" | "skipped" | "failed";
  readonly message: string;
}

export interface Scenario {
  readonly name: string;
  /** In one line. */
  readonly measures: string;
  /** How long it may take, where that is more than usual. */
  readonly timeoutMs?: number;
  /** @throws MissingProgram, Skipped, or what went wrong. */
  run(bench: Bench): Promise<void>;
}

/** What the machine has not room for, told and not failed. */
export class Skipped extends Error {}

export interface BenchParts {
  readonly dir: string;
  readonly quick: boolean;
  readonly library: Library;
  /** Started and stopped by whoever runs the scenario. */
  readonly origin: Pick<Origin, "port" | "url" | "forget" | "count">;
  readonly peers: readonly PeerFile[];
  readonly profileDir: string | undefined;
}

export interface MirrorChoice {
  readonly core?: number | string | undefined;
  readonly label?: string;
  readonly settings?: MirrorSettings;
  readonly upstreamUrl?: string;
}

type PeerKind = "nginx" | "docker-registry" | "files";

/** One scenario's surroundings. What it has found stays found, whatever fails after. */
export class Bench {
  readonly parts: BenchParts;
  readonly findings: Finding[] = [];
  readonly samples = new Map<string, Sample[]>();
  readonly troubles: Trouble[] = [];
  readonly #name: string;
  readonly #onFinding: (finding: Finding) => void;
  readonly #onTrouble: (trouble: Trouble) => void;
  readonly #kept = new AsyncDisposableStack();
  #started = 0;

  constructor(
    name: string,
    parts: BenchParts,
    onFinding: (finding: Finding) => void,
    onTrouble: (trouble: Trouble) => void,
  ) {
    this.#name = name;
    this.parts = parts;
    this.#onFinding = onFinding;
    this.#onTrouble = onTrouble;
  }

  /** A mirror with an empty cache, stopped at the scenario's end. */
  async mirror({ core, label, settings, upstreamUrl }: MirrorChoice = {}): Promise<Served> {
    const { dir, origin, profileDir } = this.parts;
    const name = this.fileName("mirror");
    const url = upstreamUrl ?? origin.url;
    return this.keep(await startMirror({ name, dir, upstreamUrl: url, core, label, settings, profileDir }));
  }

  /** Those of the peers that there are, each with an empty cache, stopped at the scenario's end. */
  async peers(kinds: readonly PeerKind[], core?: number): Promise<Served[]> {
    const { dir, library, origin, peers } = this.parts;
    const starts: [string, () => Promise<Served>][] = [];
    if (kinds.includes("nginx")) {
      starts.push(["nginx", () => startNginx({ name: this.fileName("nginx"), dir, library, core })]);
    }
    if (kinds.includes("docker-registry")) {
      const remote = { dir, remoteUrl: origin.url, core };
      starts.push(["docker-registry", () => startRegistry({ name: this.fileName("registry"), ...remote })]);
    }
    if (kinds.includes("files")) {
      for (const peer of peers) {
        const choice = { dir, upstreamUrl: origin.url, core };
        starts.push([peer.name, () => startPeer(peer, { label: this.fileName(peer.name), ...choice })]);
      }
    }
    const found: Served[] = [];
    for (const [name, start] of starts) {
      try {
        found.push(this.keep(await start()));
      } catch (error) {
        this.trouble(error instanceof MissingProgram ? "missing" : "not ranked", `${name}: ${textOf(error)}`);
      }
    }
    return found;
  }

  /** A client process, ended at the scenario's end. */
  puller(core?: number): Puller {
    return this.#kept.use(new Puller(core));
  }

  /** Those that send exactly these bytes; whoever has it not cached yet, has it then. The mirror must be among them. */
  async right(servers: readonly Served[], blob: LibraryBlob, puller: Puller): Promise<Served[]> {
    const right: Served[] = [];
    for (const server of servers) {
      try {
        await puller.verify(server.port, server.blobPath(blob), blob.digest);
        await server.settled();
        right.push(server);
      } catch (error) {
        this.drop(server, error);
      }
    }
    return right;
  }

  /** Rounds in turn, kept as samples. */
  rounds(servers: readonly Served[], rounds: number, measure: (server: Served, round: number) => Promise<Sample>) {
    const keep = ({ name }: Served, sample: Sample) => this.sample(name, sample);
    return inTurn({ servers, rounds, measure, keep, drop: (server, error) => this.drop(server, error) });
  }

  /** A peer's failure is told; what it did before is not ranked. @throws where it is the mirror's own. */
  drop(server: Served, error: unknown): void {
    if (server.name.startsWith("mirror")) throw error;
    this.samples.delete(server.name);
    this.trouble("not ranked", `${server.name}: ${textOf(error)}`);
  }

  sample(server: string, sample: Sample): void {
    this.samples.set(server, [...(this.samples.get(server) ?? []), sample]);
  }

  series(server: string, measure: Measure): number[] {
    return seriesOf(this.samples, server, measure);
  }

  find(what: string, samples: number | readonly number[], details: FindingDetails = {}): void {
    // No rounds, no figure: the trouble that made it so has been told.
    if (typeof samples !== "number" && samples.length === 0) return;
    const found = finding(what, typeof samples === "number" ? [samples] : samples, details);
    this.findings.push(found);
    this.#onFinding(found);
  }

  /** A part of the scenario whose failure leaves the rest its chance. */
  async part(name: string, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.trouble(troubleOf(error).kind, `${name}: ${textOf(error)}`);
    }
  }

  trouble(kind: Trouble["kind"], message: string): void {
    const trouble = { kind, message };
    this.troubles.push(trouble);
    this.#onTrouble(trouble);
  }

  /** Stops it at the scenario's end. */
  keep<Kept extends { readonly daemon: AsyncDisposable }>(served: Kept): Kept {
    this.#kept.use(served.daemon);
    return served;
  }

  /** A name that no other server of the run has for its files. */
  fileName(what: string): string {
    this.#started += 1;
    return `${this.#name}-${this.#started}-${what}`;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#kept.disposeAsync();
  }
}

export function troubleOf(error: unknown): Trouble {
  const kind = error instanceof MissingProgram ? "missing" : error instanceof Skipped ? "skipped" : "failed";
  return { kind, message: textOf(error) };
}

export const MIB = 1024 * 1024;

/** The server's core and the client's, where there are two. */
export function cores(): { readonly server: number | undefined; readonly client: number | undefined } {
  return availableParallelism() >= 2 ? { server: 0, client: 1 } : { server: undefined, client: undefined };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
