/**
 * Takes an archive into the store: a bundle of ours, any OCI layout, or what `docker save` wrote.
 *
 * Every byte is verified before it counts, and nothing gets a name before all that it names is here. A bundle's signature
 * is looked at before anything else of it. Of an archive that breaks off or is refused, the blobs that came whole stay: each
 * is what its digest says, nothing names it, and nobody may read it for that. They are not taken back, because others may
 * rely on them by then; they leave as anything else does, when room is wanted.
 */
import { createHash, type KeyObject } from "node:crypto";
import type { Readable } from "node:stream";
import { Failure } from "../base/failure.ts";
import type { Place } from "../meta/repositories.ts";
import { algorithmOf, type Digest, digestOf, finishDigest } from "../oci/digest.ts";
import { parseManifest } from "../oci/manifest.ts";
import { DOCKER_MANIFEST } from "../oci/mediatypes.ts";
import { type ArchiveEntry, once, readArchive, readWhole } from "./archive.ts";
import { CONTENTS_FILE, type Contents, type Piece, parseContents } from "./contents.ts";
import { MAX_SAVED_BYTES, readSaved, SAVED_FILE, type SavedFile } from "./dockersave.ts";
import { Intake, type IntakeParts } from "./intake.ts";
import { checkLayout, findBlobOf, INDEX_FILE, LAYOUT_FILE, type LayoutEntry, parseIndex } from "./layout.ts";
import { excerpt, nameText } from "./names.ts";
import { type RecordParts, record, recordName } from "./records.ts";
import { type Resolved, resolveContents, resolveLayout } from "./resolve.ts";
import { checkSignature, SIGNATURE_BYTES, SIGNATURE_FILE } from "./signature.ts";
import { Spool } from "./spool.ts";
import { filterInTurns, Turns } from "./turns.ts";

export interface ImportParts extends IntakeParts, RecordParts {
  readonly store: IntakeParts["store"] & RecordParts["store"];
  readonly inventory: IntakeParts["inventory"] & RecordParts["inventory"];
}

export interface ImportOptions {
  /** Only what is signed by it is taken. */
  readonly verifyKey: KeyObject | undefined;
  /** The repository of what has no full name. */
  readonly as: Place | undefined;
  /** Where layers lie for a moment whose digest is not known before they are read. */
  readonly spoolDirectory: string;
  /** Of the archive as it comes, where that is known ahead. */
  readonly archiveBytes?: number | undefined;
  readonly signal: AbortSignal;
}

export interface ImportProgress {
  /** Read of the archive's blobs. */
  readonly readBytes: number;
  /** Of a bundle that says what it carries. */
  readonly totalBytes: number | undefined;
  readonly takenBlobs: number;
}

export interface ImportResult {
  readonly signature: "verified" | "not checked" | "none";
  /** Epoch ms, of a bundle. */
  readonly createdAt: number | undefined;
  readonly references: readonly {
    readonly name: string;
    readonly digest: Digest;
    readonly tag: "named" | "newer here";
  }[];
  readonly taken: { readonly blobs: number; readonly bytes: number };
  /** Blobs of the archive that were stored before. */
  readonly knownBlobs: number;
  readonly notes: readonly string[];
}

const MAX_CONTENTS = 64 * 1024 * 1024;
/** Of a bundle that names thousands of images; its `index.json` is never parsed. */
const MAX_INDEX = 16 * 1024 * 1024;
const MAX_DOCUMENT = 4 * 1024 * 1024;
const MAX_DOCUMENTS_TOTAL = 32 * 1024 * 1024;
/** Blobs that are taken several at a time, through memory. */
const SMALL_BYTES = 256 * 1024;
const MAX_UNDER_WAY = 16;
/** What nobody asked for may be so large. */
const MAX_STRAY = 1024 * 1024;

/**
 * @param tell told as it goes on.
 * @throws Failure `corrupt`, `invalid`, `denied`, `unknown`, `storage`, `unsupported`.
 */
export async function importArchive(
  parts: ImportParts,
  body: Readable,
  options: ImportOptions,
  tell: (progress: ImportProgress) => void = () => {},
): Promise<ImportResult> {
  const running = new Import(parts, options, tell);
  try {
    await running.expect();
    for await (const entry of readArchive(body)) {
      options.signal.throwIfAborted();
      await running.take(entry);
    }
    return await running.finish();
  } catch (error) {
    options.signal.throwIfAborted();
    throw error;
  } finally {
    body.destroy();
    await running.close();
  }
}

class Import {
  readonly #parts: ImportParts;
  readonly #options: ImportOptions;
  readonly #tell: (progress: ImportProgress) => void;
  readonly #intake: Intake;
  readonly #spool: Spool;
  readonly #documents = new Map<string, Buffer>();
  readonly #files = new Map<string, SavedFile>();
  readonly #links = new Map<string, string>();
  /** The archive has shown that it has their bytes. */
  readonly #shown = new Set<Digest>();
  /** Small blobs on their way into the store. */
  readonly #underWay = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;
  #documentBytes = 0;
  #contentsBytes: Buffer | undefined;
  #signature: Buffer | undefined;
  #bundle: { readonly contents: Contents; readonly pieces: ReadonlyMap<Digest, Piece> } | undefined;
  #begun = false;
  #readBytes = 0;
  #totalBytes: number | undefined;
  #known = 0;

  constructor(parts: ImportParts, options: ImportOptions, tell: (progress: ImportProgress) => void) {
    this.#parts = parts;
    this.#options = options;
    this.#tell = tell;
    this.#intake = new Intake(parts, options.signal);
    this.#spool = new Spool(options.spoolDirectory);
  }

  /** @throws Failure `storage`: there never will be room for it. */
  async expect(): Promise<void> {
    const { archiveBytes } = this.#options;
    if (archiveBytes !== undefined) await this.#intake.expect(archiveBytes);
  }

  async take(entry: ArchiveEntry): Promise<void> {
    const { name } = entry;
    if (this.#failure !== undefined) throw this.#failure.error;
    if (name === CONTENTS_FILE) {
      if (this.#begun || this.#contentsBytes !== undefined || this.#documents.size > 0) throw outOfOrder(name);
      this.#contentsBytes = await readWhole(entry, MAX_CONTENTS);
      return;
    }
    if (name === SIGNATURE_FILE) {
      if (this.#begun || this.#contentsBytes === undefined) throw outOfOrder(name);
      this.#signature = await readWhole(entry, SIGNATURE_BYTES);
      return;
    }
    await this.#begin();
    const digest = findBlobOf(name);
    if (entry.linkTo !== undefined) this.#link(entry, entry.linkTo);
    else if (digest !== undefined) await this.#takeBlob(entry, digest);
    else if (this.#bundle !== undefined && name !== LAYOUT_FILE && name !== INDEX_FILE) throw stray(name);
    else if (/(?:^|\/)[^/]+\.tar$/.test(name)) await this.#takeLayer(entry);
    else if (isDocument(name)) await this.#keep(entry);
    else if (entry.sizeBytes > MAX_STRAY) throw stray(name);
  }

  /** @throws Failure: nothing has a name then. */
  async finish(): Promise<ImportResult> {
    await this.#begin();
    await Promise.all(this.#underWay);
    if (this.#failure !== undefined) throw this.#failure.error;
    const resolved = await this.#resolve();
    const verified = this.#bundle !== undefined && this.#options.verifyKey !== undefined;
    await record(this.#parts, resolved.arrivals, (digest) => verified || this.#shown.has(digest));
    const references: ImportResult["references"][number][] = [];
    const turns = new Turns();
    for (const { name, digest, checkedAt } of resolved.names) {
      await turns.pass();
      references.push({ name: nameText(name), digest, tag: recordName(this.#parts, name, digest, checkedAt) });
    }
    return {
      signature: verified ? "verified" : this.#signature === undefined ? "none" : "not checked",
      createdAt: this.#bundle?.contents.createdAt,
      references,
      taken: this.#intake.taken,
      knownBlobs: this.#known,
      notes: resolved.notes,
    };
  }

  async close(): Promise<void> {
    await Promise.all(this.#underWay);
    this.#intake.close();
    await this.#spool.close();
  }

  /** Before anything of the archive but its contents is looked at. */
  async #begin(): Promise<void> {
    if (this.#begun) return;
    this.#begun = true;
    const { verifyKey } = this.#options;
    if (this.#contentsBytes === undefined) {
      if (verifyKey !== undefined)
        throw new Failure("denied", "the archive is not signed: it is no bundle of wharfinger's");
      return;
    }
    if (verifyKey !== undefined) await checkSignature(this.#contentsBytes, this.#signature, verifyKey);
    const contents = await parseContents(this.#contentsBytes);
    this.#bundle = { contents, pieces: new Map(contents.pieces.map((piece) => [piece.digest, piece])) };
    this.#totalBytes = contents.pieces.reduce((sum, { carried, sizeBytes }) => sum + (carried ? sizeBytes : 0), 0);
    await this.#intake.checkRoom(
      await filterInTurns(contents.pieces, ({ carried, digest, sizeBytes }) => {
        this.#intake.claim(digest);
        return carried && !this.#intake.has(digest, sizeBytes);
      }),
    );
  }

  async #takeBlob(entry: ArchiveEntry, digest: Digest): Promise<void> {
    const { name, sizeBytes } = entry;
    const piece = this.#bundle?.pieces.get(digest);
    if (this.#bundle !== undefined && piece === undefined) throw stray(name);
    if (piece !== undefined && piece.sizeBytes !== sizeBytes) {
      throw new Failure("corrupt", `${name} has ${sizeBytes} bytes, and the bundle says ${piece.sizeBytes}`);
    }
    this.#intake.claim(digest);
    if (this.#bundle === undefined) this.#intake.announce(sizeBytes);
    if (this.#intake.has(digest, sizeBytes)) await this.#passOver(entry, digest);
    else {
      const wanted = { digest, sizeBytes, from: piece?.from ?? "", name };
      if (sizeBytes <= SMALL_BYTES) await this.#takeSmall(wanted, await readWhole(entry, SMALL_BYTES));
      else {
        await this.#intake.take(wanted, this.#counted(entry.chunks()));
        this.#shown.add(digest);
      }
    }
    this.#files.set(name, { digest, sizeBytes, isGzip: false });
    this.#told();
  }

  /** The disk makes each wait for its own sync: several small ones wait together. */
  async #takeSmall(wanted: Parameters<Intake["take"]>[0], bytes: Buffer): Promise<void> {
    while (this.#underWay.size >= MAX_UNDER_WAY) await Promise.race(this.#underWay);
    this.#readBytes += bytes.length;
    const work: Promise<void> = this.#intake
      .take(wanted, once(bytes))
      .then(
        () => void this.#shown.add(wanted.digest),
        (error: unknown) => {
          this.#failure ??= { error };
        },
      )
      .finally(() => this.#underWay.delete(work));
    this.#underWay.add(work);
  }

  /**
   * It is stored. Its bytes are looked at all the same where they are to give permission: whoever has them may say where they
   * may be read, and whoever only knows their digest may not.
   */
  async #passOver(entry: ArchiveEntry, digest: Digest): Promise<void> {
    this.#known += 1;
    if (this.#bundle !== undefined && this.#options.verifyKey !== undefined) {
      this.#readBytes += entry.sizeBytes;
      return;
    }
    const hash = createHash(algorithmOf(digest));
    for await (const chunk of this.#counted(entry.chunks())) hash.update(chunk);
    if (finishDigest(algorithmOf(digest), hash) !== digest) {
      throw new Failure("corrupt", `${entry.name} does not match its digest`);
    }
    this.#shown.add(digest);
  }

  /** Of archives that name layers by anything but their digest. */
  async #takeLayer(entry: ArchiveEntry): Promise<void> {
    const { name, sizeBytes } = entry;
    this.#intake.announce(sizeBytes);
    const spooled = await this.#spool.write(this.#counted(entry.chunks()), sizeBytes, () =>
      this.#intake.room(sizeBytes),
    );
    const { digest, isGzip } = spooled;
    this.#intake.claim(digest);
    try {
      if (this.#intake.has(digest, sizeBytes)) this.#known += 1;
      else await this.#intake.take({ digest, sizeBytes, from: "", name }, spooled.chunks());
    } finally {
      await spooled.remove();
    }
    this.#shown.add(digest);
    this.#files.set(name, { digest, sizeBytes, isGzip });
    this.#told();
  }

  /** Docker used links for layers that images share, podman does for names of old. */
  #link({ name }: ArchiveEntry, target: string): void {
    if (this.#bundle !== undefined) throw stray(name);
    this.#links.set(name, target);
  }

  async #keep(entry: ArchiveEntry): Promise<void> {
    const { name } = entry;
    const most = name === INDEX_FILE ? MAX_INDEX : name === SAVED_FILE ? MAX_SAVED_BYTES : MAX_DOCUMENT;
    const bytes = await readWhole(entry, most);
    this.#documentBytes += bytes.length;
    if (this.#documentBytes > MAX_DOCUMENTS_TOTAL) throw new Failure("invalid", "the archive has too many documents");
    this.#documents.set(name, bytes);
  }

  async #resolve(): Promise<Resolved> {
    const has = (digest: Digest, size?: number) => this.#intake.has(digest, size);
    const parts = { ...this.#parts, has, shown: this.#shown };
    const index = this.#documents.get(INDEX_FILE);
    const layout = this.#documents.get(LAYOUT_FILE);
    if (this.#bundle !== undefined) {
      const { contents } = this.#bundle;
      if (index === undefined || digestOf(index, algorithmOf(contents.index.digest)) !== contents.index.digest) {
        throw new Failure("corrupt", `the bundle's ${INDEX_FILE} is missing, or not the one that its contents are of`);
      }
      return await resolveContents(parts, contents);
    }
    if (index !== undefined) {
      if (layout === undefined) throw new Failure("corrupt", `the archive has an ${INDEX_FILE} and no ${LAYOUT_FILE}`);
      checkLayout(layout);
      return await resolveLayout(parts, parseIndex(index), this.#options.as);
    }
    const saved = this.#documents.get(SAVED_FILE);
    if (saved === undefined) {
      const expected = `${INDEX_FILE} (an OCI layout) or ${SAVED_FILE} (docker save)`;
      throw new Failure("corrupt", `the archive breaks off, or holds no images: it has neither ${expected}`);
    }
    return await resolveLayout(parts, await this.#takeSaved(saved), this.#options.as);
  }

  /** Manifests that the archive has none of. */
  async #takeSaved(saved: Buffer): Promise<LayoutEntry[]> {
    const turns = new Turns();
    for (const [name, bytes] of this.#documents) {
      await turns.pass();
      if (name === SAVED_FILE || this.#files.has(name)) continue;
      this.#files.set(name, { digest: digestOf(bytes), sizeBytes: bytes.length, isGzip: false });
    }
    const images = await readSaved(
      saved,
      (name) => this.#files.get(name) ?? this.#files.get(this.#links.get(name) ?? ""),
    );
    const wanted = new Set<string>();
    const entries: LayoutEntry[] = [];
    for (const { manifest, repoTags } of images) {
      const digest = digestOf(manifest);
      await this.#takeBytes(manifest, SAVED_FILE);
      for (const { digest: config } of parseManifest(manifest, DOCKER_MANIFEST).blobs) wanted.add(config);
      const one = { digest, sizeBytes: manifest.length, mediaType: DOCKER_MANIFEST };
      entries.push(
        ...(repoTags.length === 0 ? [[]] : repoTags.map((tag) => [tag])).map((names) => ({ ...one, names })),
      );
    }
    for (const [name, bytes] of this.#documents) {
      const digest = this.#files.get(name)?.digest;
      if (digest !== undefined && wanted.has(digest)) await this.#takeBytes(bytes, name);
    }
    return entries;
  }

  async #takeBytes(bytes: Buffer, name: string): Promise<void> {
    const digest = digestOf(bytes);
    this.#intake.claim(digest);
    if (!this.#intake.has(digest, bytes.length)) {
      await this.#intake.take({ digest, sizeBytes: bytes.length, from: "", name }, once(bytes));
    }
    this.#shown.add(digest);
  }

  async *#counted(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    for await (const chunk of chunks) {
      this.#readBytes += chunk.length;
      this.#told();
      yield chunk;
    }
  }

  #told(): void {
    this.#tell({ readBytes: this.#readBytes, totalBytes: this.#totalBytes, takenBlobs: this.#intake.taken.blobs });
  }
}

function isDocument(name: string): boolean {
  return name === LAYOUT_FILE || name === INDEX_FILE || name === SAVED_FILE || /^[a-f0-9]{64}\.json$/.test(name);
}

function outOfOrder(name: string): Failure {
  return new Failure(
    "invalid",
    `the bundle is refused: ${name} does not come first. Import the directory it was packed from`,
  );
}

function stray(name: string): Failure {
  return new Failure("invalid", `the archive is refused: "${excerpt(name)}" is none of its files`);
}
