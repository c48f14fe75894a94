/**
 * What is done about a stored blob that was read: it is good and said to be, or it is wrong and taken out of the store.
 *
 * The verdict is about the very file that was read: what has taken its place meanwhile keeps its row and its readers.
 * What is taken out is forgotten everywhere (row, memory, descriptors kept open), those who are reading it are stopped,
 * and it is fetched again when somebody asks for it.
 */
import type { Clock } from "../base/clock.ts";
import { isFailure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { Holdings } from "../meta/holdings.ts";
import type { Inventory } from "../meta/inventory.ts";
import type { Damage, DamageFact } from "../mirror/damage.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import type { Shelf } from "../mirror/shelf.ts";
import type { Digest } from "../oci/digest.ts";
import type { FileIdentity } from "../store/condemned.ts";
import type { DiskStore } from "../store/disk.ts";
import type { Finding } from "./verify-thread.ts";

export interface VerdictParts {
  readonly store: Pick<DiskStore, "has" | "pathOf" | "isThere" | "expectHome" | "condemn">;
  readonly inventory: Pick<Inventory, "findSize" | "addBlob" | "dropBlob">;
  readonly holdings: Pick<Holdings, "remove" | "isPinned">;
  readonly shelf: Pick<Shelf, "forget">;
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
  /** A good file that the index does not know has got its row: what it names may be recorded. */
  readonly onAdopted?: (digest: Digest, sizeBytes: number) => Promise<unknown>;
}

/** What became of it. "gone" = left or replaced meanwhile, and nobody's business. */
export type Verdict =
  | { readonly is: "good" | "adopted"; readonly sizeBytes: number }
  | { readonly is: "missing" | "gone" }
  | { readonly is: "damaged"; readonly fact: DamageFact }
  | { readonly is: "unchecked"; readonly message: string };

interface Wrong {
  readonly damage: Damage;
  readonly reason: string;
  readonly sizeBytes: number | undefined;
  readonly identity: FileIdentity | undefined;
}

/** @throws Failure `storage` where all blobs are gone. */
export async function judgeBlob(
  parts: VerdictParts,
  digest: Digest,
  finding: Finding,
  foundBy: DamageFact["foundBy"],
): Promise<Verdict> {
  const { inventory } = parts;
  // The row of now: much may have happened while the file was read.
  const sizeBytes = inventory.findSize(digest);
  switch (finding.found) {
    case "unchecked":
      return { is: "unchecked", message: finding.message };
    case "missing":
      if (sizeBytes === undefined || parts.store.has(digest)) return { is: "gone" };
      // A disk that was unmounted has lost nothing: the index must not forget it all.
      parts.store.expectHome();
      forget(parts, digest);
      return { is: "missing" };
    case "no-file":
      return await condemn(
        parts,
        digest,
        { damage: "no-file", reason: `is ${finding.what}`, sizeBytes, identity: finding.identity },
        foundBy,
      );
    case "unreadable":
      return await condemn(
        parts,
        digest,
        {
          damage: "unreadable",
          reason: `cannot be read: ${finding.message}`,
          sizeBytes,
          identity: finding.identity,
        },
        foundBy,
      );
    case "content":
      return finding.digest === digest
        ? await accept(parts, digest, finding.sizeBytes, sizeBytes)
        : await condemn(parts, digest, { ...wrong(finding.sizeBytes, sizeBytes), identity: finding.identity }, foundBy);
  }
}

function wrong(foundBytes: number, sizeBytes: number | undefined): Pick<Wrong, "damage" | "reason" | "sizeBytes"> {
  if (sizeBytes === undefined || foundBytes === sizeBytes)
    return { damage: "digest", reason: "does not match its digest", sizeBytes };
  return { damage: "size", reason: `has ${foundBytes} instead of ${sizeBytes} bytes`, sizeBytes };
}

async function accept(
  { store, inventory, clock, onAdopted }: VerdictParts,
  digest: Digest,
  foundBytes: number,
  sizeBytes: number | undefined,
): Promise<Verdict> {
  if (sizeBytes === foundBytes) return { is: "good", sizeBytes };
  // It may have been evicted a moment ago; a row without its file would have to be found again.
  if (!store.has(digest)) return { is: "gone" };
  // Its digest is right, so it is the row that is wrong.
  if (sizeBytes !== undefined) inventory.dropBlob(digest);
  inventory.addBlob(digest, foundBytes, "", clock.now());
  await onAdopted?.(digest, foundBytes);
  return { is: "adopted", sizeBytes: foundBytes };
}

async function condemn(
  parts: VerdictParts,
  digest: Digest,
  { damage, reason, sizeBytes, identity }: Wrong,
  foundBy: DamageFact["foundBy"],
): Promise<Verdict> {
  const { store, holdings, notices } = parts;
  // What was stored anew while the old file was read has its own row by now, and its own readers.
  if (!store.isThere(digest, identity)) return { is: "gone" };
  const pinned = holdings.isPinned(digest);
  // The row first: whoever looks meanwhile finds a file at most, which nobody opens any more.
  if (sizeBytes !== undefined) forget(parts, digest);
  let where: string | undefined;
  try {
    where = await store.condemn(digest, reason, identity);
  } catch (cause) {
    if (!isFailure(cause, "storage")) throw cause;
    notices.emit("storageTrouble", { message: `${digest} ${reason}, and is still there`, cause });
  }
  if (where === "gone") return { is: "gone" };
  const fact: DamageFact = { digest, sizeBytes, damage, reason, pinned, where, identity, foundBy };
  notices.emit("blobDamaged", fact);
  return { is: "damaged", fact };
}

function forget({ holdings, shelf }: VerdictParts, digest: Digest): void {
  // With what it names, so that this can be evicted; what it was worth is remembered for when it comes back.
  holdings.remove([digest], true);
  shelf.forget(digest);
}
