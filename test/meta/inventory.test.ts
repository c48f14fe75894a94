/** The index of what is stored keeps true totals. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Inventory } from "../../src/meta/inventory.ts";
import { OCI_INDEX, OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { digest, openRooms, withRooms } from "./rooms.ts";

test("blobs are counted with their bytes, each once", () =>
  withRooms(({ inventory }) => {
    assert.deepEqual([inventory.blobs, inventory.bytes], [0, 0]);
    inventory.addBlob(digest("a"), 10, "docker.io", 1);
    inventory.addBlob(digest("b"), 0, "docker.io", 1);
    inventory.addBlob(digest("a"), 99, "docker.io", 2);
    assert.deepEqual([inventory.blobs, inventory.bytes], [2, 10]);
    assert.equal(inventory.findSize(digest("a")), 10);
    assert.equal(inventory.findSize(digest("b")), 0);
    assert.equal(inventory.findSize(digest("c")), undefined);
  }));

test("where a blob is from is learned after it was found by its name, never forgotten, and it is counted once", () =>
  withRooms(({ inventory }) => {
    inventory.addBlob(digest("a"), 10, "", 0);
    assert.equal(inventory.findUpstream(digest("a")), undefined);
    inventory.addBlob(digest("a"), 10, "docker.io", 1);
    inventory.addBlob(digest("a"), 10, "", 0);
    inventory.addBlob(digest("a"), 10, "quay.io", 2);
    assert.equal(inventory.findUpstream(digest("a")), "docker.io");
    assert.deepEqual([inventory.blobs, inventory.bytes], [1, 10]);
  }));

test("a dropped blob is counted no more, and dropping what is not there changes nothing", () =>
  withRooms(({ inventory }) => {
    inventory.addBlob(digest("a"), 10, "docker.io", 1);
    inventory.dropBlob(digest("b"));
    inventory.dropBlob(digest("a"));
    inventory.dropBlob(digest("a"));
    assert.deepEqual([inventory.blobs, inventory.bytes], [0, 0]);
    assert.equal(inventory.findSize(digest("a")), undefined);
  }));

test("totals are the same after the index was closed and opened", () =>
  withRooms((rooms, directory) => {
    rooms.inventory.addBlob(digest("a"), 10, "docker.io", 1);
    rooms.inventory.addBlob(digest("b"), 2 ** 40, "docker.io", 1);
    rooms.inventory.addBlob(digest("c"), 5, "docker.io", 1);
    rooms.inventory.dropBlob(digest("c"));
    rooms.database.close();
    const again = openRooms(directory);
    assert.deepEqual([again.inventory.blobs, again.inventory.bytes], [2, 2 ** 40 + 10]);
    assert.equal(again.inventory.findSize(digest("b")), 2 ** 40);
    again.database.close();
  }));

test("whatever is added and dropped, the running totals are those of a count", () =>
  withRooms(({ inventory, database }) => {
    const step = fc.record({ add: fc.boolean(), which: fc.nat(5), size: fc.nat(1000) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 20 }), (steps) => {
        for (const { add, which, size } of steps) {
          if (add) inventory.addBlob(digest(String(which)), size, "docker.io", 1);
          else inventory.dropBlob(digest(String(which)));
        }
        const counted = new Inventory(database);
        assert.deepEqual([inventory.blobs, inventory.bytes], [counted.blobs, counted.bytes]);
      }),
      { numRuns: 50 },
    );
  }));

test("a manifest keeps the type that was decided first", () =>
  withRooms(({ inventory }) => {
    assert.equal(inventory.findMediaType(digest("a")), undefined);
    inventory.addManifest(digest("a"), OCI_MANIFEST, { children: [], subject: undefined });
    inventory.addManifest(digest("a"), OCI_INDEX, { children: [], subject: undefined });
    assert.equal(inventory.findMediaType(digest("a")), OCI_MANIFEST);
  }));
