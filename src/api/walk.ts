/**
 * All images that somebody asks for, in the order of their names: a few rows at a time, with a turn of the event loop for
 * everybody else in between, and nothing held but the row at hand.
 */
import { setImmediate as turn } from "node:timers/promises";
import type { ImageRow, Images, RepositoryRow } from "../meta/images.ts";
import type { Place } from "../meta/repositories.ts";
import { matchesGlob } from "../upstream/registries/repositories.ts";

export interface ImageFilter {
  readonly upstream?: string | undefined;
  /** `*` is any text in one component, `**` any components; without a slash it may be the last one of any name. */
  readonly repository?: string | undefined;
  /** One of its tags must match. */
  readonly tag?: string | undefined;
}

/** A place in the order of names: after it is what comes next. */
export interface Position {
  readonly place: Place;
  /** In that repository: the tag, or the digest of what has none. Tagged images come first. */
  readonly tag?: string | undefined;
  readonly digest?: string | undefined;
}

const ROWS = 100;
const REPOSITORIES = 200;
const SLICE_MS = 4;
const MAX_TAGS = 1000;

export async function* walkImages(
  images: Images,
  filter: ImageFilter,
  signal: AbortSignal,
  from?: Position,
): AsyncGenerator<ImageRow> {
  const breath = breathing(signal);
  const wanted = (row: ImageRow) => filter.tag === undefined || hasTag(images, row, filter.tag);
  if (from !== undefined) {
    // What is left of the repository that was reached.
    const own = images.findRepository(from.place);
    if (own !== undefined) {
      for await (const row of imagesIn(images, own, filter, breath, from)) if (wanted(row)) yield row;
    }
  }
  let after: { upstream: string; repository: string } = from?.place ?? {
    upstream: filter.upstream ?? "",
    repository: "",
  };
  for (;;) {
    const repositories = images.repositoriesAfter(after, REPOSITORIES);
    for (const repository of repositories) {
      const { place } = repository;
      after = place;
      if (filter.upstream !== undefined && place.upstream !== filter.upstream) {
        if (place.upstream > filter.upstream) return;
        continue;
      }
      if (matchesPlace(place, filter.repository)) {
        for await (const row of imagesIn(images, repository, filter, breath)) if (wanted(row)) yield row;
      }
      await breath();
    }
    if (repositories.length < REPOSITORIES) return;
  }
}

async function* imagesIn(
  images: Images,
  repository: RepositoryRow,
  filter: ImageFilter,
  breath: () => Promise<void>,
  from?: Position,
): AsyncGenerator<ImageRow> {
  let tag: string | undefined = from?.digest === undefined ? (from?.tag ?? "") : undefined;
  while (tag !== undefined) {
    const slice = images.taggedAfter(repository, tag, ROWS);
    yield* slice.images;
    tag = slice.last;
    await breath();
  }
  let digest: string | undefined = filter.tag === undefined ? (from?.digest ?? "") : undefined;
  while (digest !== undefined) {
    const slice = images.untaggedAfter(repository, digest, ROWS);
    yield* slice.images;
    digest = slice.last;
    await breath();
  }
}

/** Lets others have a turn, if it has been long. */
export function breathing(signal: AbortSignal): () => Promise<void> {
  let since = performance.now();
  return async () => {
    signal.throwIfAborted();
    if (performance.now() - since < SLICE_MS) return;
    await turn();
    since = performance.now();
  };
}

function hasTag(images: Images, row: ImageRow, pattern: string): boolean {
  if (row.tag === undefined) return false;
  if (matchesGlob(pattern, row.tag)) return true;
  return images.tagsOf(row.repositoryId, row.digest, MAX_TAGS).some(({ tag }) => matchesGlob(pattern, tag));
}

function matchesPlace({ repository }: Place, pattern: string | undefined): boolean {
  if (pattern === undefined) return true;
  return matchesGlob(pattern.includes("/") ? pattern : `**/${pattern}`, repository);
}
