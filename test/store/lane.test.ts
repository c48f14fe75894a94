/** One body on its way into an ingest that ends before it does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../src/base/failure.ts";
import { SlabLane } from "../../src/store/lane.ts";
import type { Piece } from "../../src/store/pen.ts";
import { Slabs, SMALL_BYTES } from "../../src/store/slabs.ts";

test("bytes that come after a waiting lane was woken by a failure are told that failure, by the memory they ask for", () => {
  const slabs = new Slabs();
  const pieces: Piece[] = [];
  let failure: Failure | undefined;
  const lane = new SlabLane(
    {
      isTiny: false,
      took: () => {
        if (failure !== undefined) throw failure;
      },
      takeSmall: () => slabs.takeSmall(),
      findLarge: () => undefined,
      giveBack: (slab) => slabs.giveBack(slab),
      write: (piece) => pieces.push(piece),
      closed: () => {},
    },
    0,
    1024 * 1024,
  );
  lane.space();
  assert.equal(lane.filled(SMALL_BYTES), false, "it has to wait for the disk");
  let woken = 0;
  lane.onDrain(() => {
    woken += 1;
  });
  failure = new Failure("storage", "the disk is full");
  lane.wake(true);
  assert.equal(woken, 1);
  assert.throws(
    () => lane.space(),
    (error) => error === failure,
  );
  lane.close();
  for (const piece of pieces) piece.from?.done(piece);
  assert.equal(slabs.outBytes, 0);
});
