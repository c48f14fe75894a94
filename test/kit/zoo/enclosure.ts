/**
 * One family of registries, set up with its hosts and two repositories, and what is to be expected of it.
 */

import { BufferContent, seededBytes } from "../content.ts";
import { makeImage, makeIndex, type TestImage, type TestIndex } from "../image.ts";
import type { Shelves } from "../shelves.ts";
import type { Storage } from "./storage.ts";
import type { Account, Answer, House } from "./visit.ts";

export interface Enclosure {
  /** The key under `upstreams`. */
  readonly upstream: string;
  /** Settings below it, but for credentials. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** Undefined is anonymous. */
  readonly account?: Account | undefined;
  /** Credentials in another form than a name and a password. */
  readonly credentials?: readonly object[] | undefined;
  readonly houses: readonly House[];
  /** As clients name them: two with a whole image, one with a lone blob. */
  readonly names: Names;
  readonly stock: Stock;
  /** 401s that a registry that was never asked before costs: of the registry, and of hosts it redirects to. */
  readonly challenges: number;
  /** Token requests for each repository; or for all of them together. */
  readonly tokens: { readonly each: number } | { readonly all: number };
  /** Redirects followed for each request of a kind. */
  readonly hops: { readonly manifest: number; readonly blob: number };
  readonly referrers: boolean;
  /** False: there is no list of tags either. */
  readonly tags?: boolean;
  /** Where blobs are. */
  readonly storage?: Storage;
  /** What a request costs besides itself whose token has expired; default one of each. */
  readonly renewal?: { readonly challenges: number; readonly tokens: number };
  /** How often a wrong password is shown until it is clear that it is wrong; default 1. */
  readonly wrongPasswordShown?: 2;
  /** Ends the life of the tokens that were given. */
  readonly expireTokens?: () => void;
  /** From then on every request to the API is refused as this family refuses who asks too often. */
  readonly exhaust?: () => void;
}

export interface Names {
  readonly first: string;
  readonly second: string;
  readonly lone: string;
  /** Of a repository that is not there. */
  readonly absent: string;
}

export interface Family {
  readonly name: string;
  /** Each a way of use of its own: anonymous, with an account, by another URL. */
  readonly variants: Readonly<Record<string, () => Enclosure>>;
}

export interface Stock {
  readonly first: TestIndex;
  readonly second: TestIndex;
  /** Refers to the first index. */
  readonly signature: TestImage;
  readonly loneBlob: { readonly digest: string; readonly sizeBytes: number };
}

export const TAG = "1.27.4-alpine";

const NOISE = seededBytes(90_000, 601);
let salt = 0;

/** Bytes that no other enclosure has, so that what each costs can be counted. */
function layer(sizeBytes: number): Buffer {
  const bytes = Buffer.from(NOISE.subarray(0, sizeBytes));
  salt += 1;
  bytes.writeUInt32LE(salt);
  return bytes;
}

/** Puts what is pulled into the registry, under the names that it has there. Nothing is shared between the two images. */
export function stock(shelves: Shelves, names: Omit<Names, "absent">): Stock {
  const index = () =>
    makeIndex([
      makeImage({ layers: [layer(1_200), layer(24_000), layer(90_000)] }),
      makeImage({ layers: [layer(30_000)], architecture: "arm64" }),
    ]);
  const first = index();
  const second = index();
  const signature = makeImage({
    layers: [layer(300)],
    subject: first.descriptor,
    artifactType: "application/vnd.dev.sigstore.bundle.v0.3+json",
  });
  shelves.add(names.first, first, TAG);
  for (const tag of ["1.26.0", "latest"]) shelves.add(names.first, first, tag);
  shelves.add(names.first, signature);
  shelves.add(names.second, second, TAG);
  const loneBlob = new BufferContent(layer(5_000));
  shelves.addBlob(names.lone, loneBlob);
  return { first, second, signature, loneBlob };
}

/** Counts what passes the gate of an API, and refuses all of it once it was told to. */
export class Turnstile {
  closed = false;
  readonly #refusal: Answer;

  constructor(refusal: Answer) {
    this.#refusal = refusal;
  }

  readonly pass = (): { readonly refusal?: Answer } => (this.closed ? { refusal: this.#refusal } : {});
  readonly close = (): void => {
    this.closed = true;
  };
}
