/**
 * The contents of a bundle: `contents.ndjson`, one JSON object a line. The first says what follows; then references,
 * pieces and what was left out, each sorted, so the same contents are the same bytes. These bytes are what is signed: they
 * hold the digest of everything that counts, that of `index.json` included.
 *
 * All pieces that the references need are listed. Those that are not `carried` are on the other side by now.
 */
import { Failure } from "../base/failure.ts";
import { type Place, placeKey } from "../meta/repositories.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { excerpt, type ImageName, nameText, parseImageName, parsePlaceKey } from "./names.ts";
import { Turns } from "./turns.ts";

export const CONTENTS_FILE = "contents.ndjson";
const FORMAT = "wharfinger bundle";
const VERSION = 1;

export interface BundledReference extends ImageName {
  readonly digest: Digest;
  /** When the upstream last said so, epoch ms; undefined where only a digest was asked for. */
  readonly checkedAt: number | undefined;
}

export interface Piece {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Of manifests. */
  readonly mediaType: string | undefined;
  /** The upstream that its bytes came from; "" where that is not known. */
  readonly from: string;
  /** Where it may be read. */
  readonly places: readonly Place[];
  readonly carried: boolean;
}

export interface Contents {
  readonly createdAt: number;
  readonly index: { readonly digest: Digest; readonly sizeBytes: number };
  /** Digest of the contents that this bundle is added to. */
  readonly since: Digest | undefined;
  readonly references: readonly BundledReference[];
  readonly pieces: readonly Piece[];
  /** Manifests that are named by others and were left out, being for other platforms. */
  readonly unwanted: readonly Digest[];
}

export async function encodeContents(contents: Contents): Promise<Buffer> {
  const { createdAt, index, since } = contents;
  const references = contents.references.map((one) => ({
    reference: nameText(one),
    digest: one.digest,
    ...(one.checkedAt === undefined ? {} : { checkedAt: timeText(one.checkedAt) }),
  }));
  const pieces = contents.pieces.map(({ digest, sizeBytes, mediaType, from, places, carried }) => ({
    digest,
    size: sizeBytes,
    ...(mediaType === undefined ? {} : { mediaType }),
    from,
    in: places.map(placeKey).sort(),
    carried,
  }));
  const head = {
    format: FORMAT,
    version: VERSION,
    createdAt: timeText(createdAt),
    index: { digest: index.digest, size: index.sizeBytes },
    ...(since === undefined ? {} : { since }),
    references: references.length,
    pieces: pieces.length,
    unwanted: contents.unwanted.length,
  };
  const lines: object[] = [
    head,
    ...references.sort((one, other) => compare(one.reference, other.reference)),
    ...pieces.sort((one, other) => compare(one.digest, other.digest)),
    ...[...contents.unwanted].sort().map((unwanted) => ({ unwanted })),
  ];
  const turns = new Turns();
  const chunks: Buffer[] = [];
  for (const line of lines) {
    chunks.push(Buffer.from(`${JSON.stringify(line)}\n`));
    await turns.pass();
  }
  return Buffer.concat(chunks);
}

const MAX_LINE = 256 * 1024;

/** @throws Failure `corrupt`; `unsupported` for a format of a later version. */
export async function parseContents(bytes: Buffer): Promise<Contents> {
  const lines = linesOf(bytes);
  const head = objectOf(lines.next().value);
  if (head["format"] !== FORMAT) throw fault("the first line does not say that it is one");
  if (head["version"] !== VERSION) {
    throw new Failure(
      "unsupported",
      `the bundle is of format ${excerpt(String(head["version"]))}, this version of wharfinger reads format ${VERSION}`,
    );
  }
  const references: BundledReference[] = [];
  const pieces: Piece[] = [];
  const unwanted: Digest[] = [];
  const seen = new Set<string>();
  const turns = new Turns();
  for (const line of lines) {
    await turns.pass();
    const object = objectOf(line);
    const key = String(object["reference"] ?? object["digest"] ?? object["unwanted"]);
    if (seen.has(key)) throw fault(`${excerpt(key)} is there twice`);
    seen.add(key);
    if (object["reference"] !== undefined) references.push(referenceOf(object));
    else if (object["unwanted"] !== undefined) unwanted.push(digestOf(object["unwanted"]));
    else pieces.push(pieceOf(object));
  }
  const counts = [references.length, pieces.length, unwanted.length];
  if ([head["references"], head["pieces"], head["unwanted"]].some((said, at) => said !== counts[at])) {
    throw fault("there is less or more than its first line says");
  }
  const index = objectOf(head["index"]);
  return {
    createdAt: timeOf(head["createdAt"]),
    index: { digest: digestOf(index["digest"]), sizeBytes: sizeOf(index["size"]) },
    since: head["since"] === undefined ? undefined : digestOf(head["since"]),
    references,
    pieces,
    unwanted,
  };
}

function referenceOf(object: Record<string, unknown>): BundledReference {
  const name = parseImageName(textOf(object["reference"]), parsePlaceKey);
  const checkedAt = object["checkedAt"] === undefined ? undefined : timeOf(object["checkedAt"]);
  return { ...name, digest: digestOf(object["digest"]), checkedAt };
}

function pieceOf(object: Record<string, unknown>): Piece {
  const { mediaType, carried } = object;
  const places = object["in"];
  if (!Array.isArray(places) || typeof carried !== "boolean") throw fault("a line is no piece");
  return {
    digest: digestOf(object["digest"]),
    sizeBytes: sizeOf(object["size"]),
    mediaType: mediaType === undefined ? undefined : textOf(mediaType),
    from: textOf(object["from"]),
    places: places.map((place) => parsePlaceKey(textOf(place))),
    carried,
  };
}

/** Each line as what it parses to. */
function* linesOf(bytes: Buffer): Generator<unknown, undefined> {
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(10, at);
    if (end < 0 || end - at > MAX_LINE) throw fault("a line is too long, or has no end");
    try {
      yield JSON.parse(bytes.toString("utf8", at, end));
    } catch (cause) {
      throw fault("a line is not JSON", cause);
    }
    at = end + 1;
  }
  return undefined;
}

function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw fault("a line is no object");
  return value as Record<string, unknown>;
}

function digestOf(value: unknown): Digest {
  if (typeof value === "string" && isDigest(value)) return value;
  throw fault("there is something where a digest should be");
}

function sizeOf(value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw fault("there is something where a size should be");
}

function textOf(value: unknown): string {
  if (typeof value === "string" && value.length <= 1000) return value;
  throw fault("there is something where a text should be");
}

function timeOf(value: unknown): number {
  const time = Date.parse(textOf(value));
  if (Number.isNaN(time)) throw fault("there is something where a time should be");
  return time;
}

function timeText(ms: number): string {
  return new Date(ms).toISOString();
}

function compare(one: string, other: string): number {
  return one < other ? -1 : Number(one > other);
}

function fault(what: string, cause?: unknown): Failure {
  return new Failure("corrupt", `the bundle's ${CONTENTS_FILE} is damaged: ${what}`, { cause });
}
