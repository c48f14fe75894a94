/** What fronts tell may be late: the origin side looks for itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Readers } from "../../src/mirror/readers.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { Door, type OriginSide } from "../../src/workers/door.ts";
import { digest } from "../meta/rooms.ts";

function open(parts: object): Door {
  return new Door(parts as OriginSide, { post() {} } as unknown as ConstructorParameters<typeof Door>[1]);
}

test("what a front found just before it left is not counted", () => {
  const stored = new Set([digest("here")]);
  const added: Digest[] = [];
  const door = open({
    store: { has: (of: Digest) => stored.has(of) },
    inventory: { addBlob: (of: Digest) => added.push(of) },
  });
  door.take.addBlob({ digest: digest("here"), sizeBytes: 1 });
  door.take.addBlob({ digest: digest("left"), sizeBytes: 1 });
  assert.deepEqual(added, [digest("here")]);
});

test("what fronts read is in use until each has told of its end, or is gone", () => {
  const readers = new Readers();
  const [one, other] = [open({ readers }), open({ readers })];
  const blob = digest("blob");
  one.take.reading({ began: [blob], ended: [] });
  one.take.reading({ began: [blob], ended: [] });
  other.take.reading({ began: [blob], ended: [digest("never begun")] });
  one.take.reading({ began: [], ended: [blob] });
  assert.equal(readers.has(blob), true);
  other.close();
  assert.equal(readers.has(blob), false);
});
