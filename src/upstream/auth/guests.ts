/**
 * Who we are at hosts that redirects lead to: nobody, with a token of theirs where they ask for one.
 *
 * What a host asked for is remembered, so it is asked for once and not with every request; names are that host's own, and
 * stand in the URL. Hosts that ask for nothing (storage) cost nothing here.
 */
import { LRUCache } from "lru-cache";
import { parseRepository, type Repository } from "../../oci/reference.ts";
import type { Authorizer } from "./authorizer.ts";

const MAX_GUESTS = 100;

export class Guests {
  readonly #open: (origin: URL) => Authorizer;
  readonly #known = new LRUCache<string, Authorizer>({ max: MAX_GUESTS });

  /** @param open makes one that shows no credential of ours. */
  constructor(open: (origin: URL) => Authorizer) {
    this.#open = open;
  }

  /** Undefined where that host has not asked for anything yet. */
  find({ origin }: URL): Authorizer | undefined {
    return this.#known.get(origin);
  }

  /** After a challenge. */
  open(url: URL): Authorizer {
    const guest = this.find(url) ?? this.#open(url);
    this.#known.set(url.origin, guest);
    return guest;
  }
}

/** What a registry calls it whose URL this is; undefined where it is none's. */
export function findRepositoryIn({ pathname }: URL): Repository | undefined {
  const name = /\/v2\/([^%]{1,255})\/(?:manifests|blobs|referrers)\/[^/]+$/.exec(pathname)?.[1];
  try {
    return name === undefined ? undefined : parseRepository(name);
  } catch {
    return undefined;
  }
}
