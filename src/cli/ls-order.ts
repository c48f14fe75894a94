/**
 * The orders of `GET /api/v1/images`, for whoever wants more of them than a few pages: the mirror walks all images for
 * each page in any order but that of names. Pure.
 */
import type { ImageAnswer } from "../api/images.ts";

export interface Order {
  readonly sort: string;
  readonly reverse: boolean;
  readonly limit: number;
}

/** The first `limit` of what is added, in memory for twice as many. */
export class Foremost {
  readonly #order: Order;
  readonly #images: ImageAnswer[] = [];
  #more = false;

  constructor(order: Order) {
    this.#order = order;
  }

  add(images: readonly ImageAnswer[]): void {
    for (const image of images) this.#images.push(image);
    if (this.#images.length > 2 * this.#order.limit) this.#cut();
  }

  end(): { readonly images: readonly ImageAnswer[]; readonly more: boolean } {
    this.#cut();
    return { images: this.#images, more: this.#more };
  }

  #cut(): void {
    const { sort, reverse, limit } = this.#order;
    this.#more ||= this.#images.length > limit;
    this.#images.sort((one, other) => (reverse ? -1 : 1) * compare(one, other, sort));
    this.#images.length = Math.min(limit, this.#images.length);
  }
}

function compare(one: ImageAnswer, other: ImageAnswer, sort: string): number {
  const by = rankOf(one, sort) - rankOf(other, sort);
  return by === 0 ? compareText(nameOf(one), nameOf(other)) : by;
}

/** What is shown first has the smallest. */
function rankOf(image: ImageAnswer, sort: string): number {
  switch (sort) {
    case "size":
      return -image.sizeBytes;
    case "age":
      return -Date.parse(image.storedAt);
    case "used":
      return -Date.parse(image.lastUsedAt);
    case "hits":
      return -image.hits;
    default:
      return 0;
  }
}

/** Tagged before untagged. */
function nameOf({ upstream, repository, tags: [tag], digest }: ImageAnswer): readonly string[] {
  return [upstream, repository, tag ?? `~${digest}`];
}

function compareText(one: readonly string[], other: readonly string[]): number {
  for (const [at, text] of one.entries()) {
    const against = other[at] ?? "";
    if (text !== against) return text < against ? -1 : 1;
  }
  return 0;
}
