/**
 * A file that may be replaced while we run: read at start, and again when somebody asks and the last look is some seconds
 * ago; with every asking, but never by several at once, after what it holds was refused.
 *
 * Contents decide, not times: secrets are swapped by symlinks, bind mounts and in place. What is no longer there, or no
 * longer makes sense, leaves the last good value in force, and is told once. What is no regular file (a pipe) is read at
 * start only, where what it holds comes within a second.
 */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../../base/clock.ts";
import { errnoOf, Failure, isFailure } from "../../base/failure.ts";
import { leftOf, OVER, type Span, spanOf } from "../../base/span.ts";

export interface WatchedOptions<T> {
  readonly clock: Clock;
  readonly maxBytes: number;
  /** Called for new contents only. @throws Failure `invalid`, without a word of the contents in it. */
  readonly parse: (bytes: Buffer) => T;
  readonly onTrouble: (message: string) => void;
}

const LOOK_MS = 5_000;
const ATTENTIVE_MS = 60_000;
/** For what a pipe brings, and how often it is looked for. */
const PIPE_LOOKS = 50;
const PIPE_LOOK_MS = 20;

export class WatchedFile<T> {
  readonly #file: string;
  readonly #options: WatchedOptions<T>;
  readonly #isRegular: boolean;
  #bytes: Buffer;
  #value: T;
  /** Until it is looked at again. */
  #believed: Span;
  #attentive: Span = OVER;
  #looking: Promise<void> | undefined;
  /** The trouble that was told. */
  #told: string | undefined;

  private constructor(file: string, options: WatchedOptions<T>, content: Content, value: T) {
    this.#file = file;
    this.#options = options;
    this.#isRegular = content.isRegular;
    this.#bytes = content.bytes;
    this.#value = value;
    this.#believed = spanOf(options.clock.now(), LOOK_MS);
  }

  /** @throws Failure `invalid`: it cannot be read, or what it holds is not what it should. */
  static async open<T>(file: string, options: WatchedOptions<T>): Promise<WatchedFile<T>> {
    const content = await read(file, options.maxBytes);
    return new WatchedFile(file, options, content, parseOf(file, options, content.bytes));
  }

  /** The last good value; the same one as long as the contents are the same. */
  async value(): Promise<T> {
    const now = this.#options.clock.now();
    if (this.#isRegular && (leftOf(this.#believed, now) === 0 || leftOf(this.#attentive, now) > 0)) {
      this.#looking ??= this.#look().finally(() => {
        this.#looking = undefined;
      });
      await this.#looking;
    }
    return this.#value;
  }

  /** What it holds was refused: until it holds something else, for a minute at most, everybody who asks has it looked at. */
  lookAgain(): void {
    this.#believed = OVER;
    this.#attentive = spanOf(this.#options.clock.now(), ATTENTIVE_MS);
  }

  async #look(): Promise<void> {
    const { clock, maxBytes, onTrouble } = this.#options;
    this.#believed = spanOf(clock.now(), LOOK_MS);
    try {
      const { bytes } = await read(this.#file, maxBytes);
      if (!bytes.equals(this.#bytes)) {
        this.#value = parseOf(this.#file, this.#options, bytes);
        this.#bytes = bytes;
        this.#attentive = OVER;
      }
      this.#told = undefined;
    } catch (error) {
      if (!isFailure(error)) throw error;
      if (this.#told === error.message) return;
      this.#told = error.message;
      onTrouble(`${error.message}; what it held before stays in use`);
    }
  }
}

function parseOf<T>(file: string, { parse }: WatchedOptions<T>, bytes: Buffer): T {
  try {
    return parse(bytes);
  } catch (error) {
    throw isFailure(error) ? new Failure("invalid", `the file ${file} ${error.message}`) : error;
  }
}

interface Content {
  readonly bytes: Buffer;
  readonly isRegular: boolean;
}

async function read(file: string, maxBytes: number): Promise<Content> {
  try {
    // A pipe that nobody writes to would keep a thread, and the start, for ever.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await handle.stat();
    if (stat.isDirectory()) throw new Failure("invalid", `${file} is a directory, not a file`);
    // One byte more than allowed tells whether there is more.
    const buffer = Buffer.alloc(stat.isFile() ? Math.min(stat.size, maxBytes) + 1 : maxBytes + 1);
    let length = 0;
    let looks = 0;
    while (length < buffer.length) {
      const bytesRead = await readSome(handle, buffer, length);
      if (bytesRead === undefined || (bytesRead === 0 && length === 0 && stat.isFIFO())) {
        looks += 1;
        if (looks > PIPE_LOOKS) throw new Failure("invalid", `${file} is a pipe that brought nothing whole in time`);
        // By a timer that keeps the process: at its start nothing else does.
        await sleep(PIPE_LOOK_MS);
        continue;
      }
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    if (length > maxBytes) throw new Failure("invalid", `the file ${file} is larger than ${maxBytes} bytes`);
    return { bytes: Buffer.from(buffer.subarray(0, length)), isRegular: stat.isFile() };
  } catch (error) {
    if (isFailure(error)) throw error;
    const code = errnoOf(error);
    if (code === undefined) throw error;
    throw new Failure("invalid", `cannot read the file ${file} (${code})`, { cause: error });
  }
}

/** Undefined where nothing has come yet. */
async function readSome(handle: FileHandle, buffer: Buffer, at: number): Promise<number | undefined> {
  try {
    return (await handle.read(buffer, at, buffer.length - at, null)).bytesRead;
  } catch (error) {
    if (errnoOf(error) === "EAGAIN") return undefined;
    throw error;
  }
}
