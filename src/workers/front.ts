/**
 * One front process as the origin side sees it: started, spoken with, and buried.
 */
import { type ChildProcess, fork } from "node:child_process";
import { Failure } from "../base/failure.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { Channel } from "./channel.ts";
import { Door, type OriginSide } from "./door.ts";
import { handedOn } from "./execargv.ts";
import { errorOfText } from "./failures.ts";
import type { Beginning, DoorAsks, DoorPosts, FrontAsks, FrontPosts, MetricValues } from "./messages.ts";

export interface FrontEvents {
  notice<K extends keyof MirrorNotices>(kind: K, fact: MirrorNotices[K]): void;
  ended(front: Front, how: string): void;
}

export class Front {
  readonly channel: Channel<FrontAsks, FrontPosts>;
  /** Resolves when it answers clients; rejects where it ended before. */
  readonly listening: Promise<void>;
  readonly ended: Promise<void>;
  /** What it counted when it was last asked. */
  counts: MetricValues = [];
  up = false;
  readonly #child: ChildProcess;

  constructor(program: URL, side: OriginSide, beginning: Beginning, handle: object, events: FrontEvents) {
    const child = fork(program, {
      serialization: "advanced",
      execArgv: handedOn(process.execArgv),
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child = child;
    this.channel = new Channel({
      send: (message, sent) => {
        // What cannot be sent has no receiver any more; the end of the process is told by itself.
        if (child.connected) child.send(message, () => sent?.());
        else sent?.();
      },
    });
    const door = new Door(side, this.channel);
    const listening = Promise.withResolvers<void>();
    const ended = Promise.withResolvers<void>();
    listening.promise.catch(() => {});
    this.listening = listening.promise;
    this.ended = ended.promise;
    let why: Error | undefined;
    const take: { readonly [K in keyof DoorPosts]: (value: DoorPosts[K]) => void } = {
      ...door.take,
      failed: (text) => {
        why = errorOfText(text);
      },
      listening: () => {
        this.up = true;
        listening.resolve();
      },
      notice: ({ kind, fact, error }) => events.notice(kind, factOf(fact, error)),
      counts: (values) => {
        this.counts = values;
      },
    };
    const reception = { answer: door.answer satisfies DoorAsks, take };
    child.on("message", (message) => this.channel.receive(message, reception));
    child.on("error", (error) => {
      why ??= error;
    });
    let over = false;
    const end = (how: string) => {
      if (over) return;
      over = true;
      this.up = false;
      this.channel.close();
      door.close();
      listening.reject(why ?? new Failure("overloaded", `a process that should answer clients ended at once (${how})`));
      ended.resolve();
      events.ended(this, why === undefined ? how : `${how}: ${why.message}`);
    };
    child.once("exit", (code, signal) => end(signal ?? `exit code ${code}`));
    // One that could not even be started has no exit.
    child.once("error", () => {
      if (child.pid === undefined) end("it could not be started");
    });
    // Where descriptors have run out, there is neither a process nor a way to speak with it.
    if (child.connected) child.send({ post: "begin", value: beginning }, handle as never);
  }

  /** Not to be waited for any longer. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Errors inside of a fact travel beside it. */
function factOf<F>(fact: unknown, error: Parameters<typeof errorOfText>[0] | undefined): F {
  if (error === undefined) return fact as F;
  return { ...(fact as object), error: errorOfText(error) } as F;
}
