/**
 * The graph of what is stored, held against its own definition after each of a random sequence of steps: what is stored,
 * what names it and what leaves together are worked out anew from all that was ever told.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest } from "../meta/rooms.ts";
import type { IndexRooms, IndexUnderTest, MakeIndex } from "./index.ts";

/** What an index was told, kept as plainly as can be. */
interface Told {
  readonly stored: Map<number, { readonly size: number; readonly upstream: string; held: boolean }>;
  readonly names: Map<number, readonly number[]>;
}

type Step =
  | {
      readonly do: "store";
      readonly at: number;
      readonly size: number;
      readonly upstream: number;
      readonly names: number[];
    }
  | { readonly do: "drop" | "lose" | "evict" | "use" | "hold" | "free"; readonly at: number }
  | { readonly do: "flush" | "reopen" };

const SPACE = 7;
const UPSTREAMS = ["docker.io", "ghcr.io"];

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("store" as const),
      at: fc.nat(SPACE - 1),
      size: fc.nat(1000),
      upstream: fc.nat(UPSTREAMS.length - 1),
      names: fc.uniqueArray(fc.nat(SPACE - 1), { maxLength: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constantFrom("drop", "lose", "evict", "use", "hold", "free"),
      at: fc.nat(SPACE - 1),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("flush", "reopen") }) },
);

const nameOf = (at: number) => digest(`thing ${at}`);

export function describeIndexSequences(make: MakeIndex): void {
  test("totals, roots and units are those that follow from what was told", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyStep, { minLength: 20, maxLength: 50 }), async (steps) => {
        const clock = new ManualClock();
        await using made = await make(clock);
        const told: Told = { stored: new Map(), names: new Map() };
        for (const step of steps) {
          clock.jump(1000);
          apply(made, told, step, clock);
          assertFollows(made.rooms, told);
        }
      }),
      { numRuns: 40 },
    );
  });
}

function apply(made: IndexUnderTest, told: Told, step: Step, clock: ManualClock): void {
  const { inventory, holdings, usage } = made.rooms;
  switch (step.do) {
    case "store": {
      const upstream = UPSTREAMS[step.upstream] ?? "";
      // No document names one that names it: it would have to know its digest.
      const names = step.names.filter((at) => at > step.at);
      if (!told.stored.has(step.at)) told.stored.set(step.at, { size: step.size, upstream, held: false });
      const named = new Set([...(told.names.get(step.at) ?? []), ...names]);
      told.names.set(step.at, [...named]);
      inventory.addBlob(nameOf(step.at), step.size, upstream, clock.now());
      inventory.addManifest(nameOf(step.at), OCI_MANIFEST, { children: [...named].map(nameOf), subject: undefined });
      return;
    }
    case "drop":
      told.stored.delete(step.at);
      told.names.delete(step.at);
      holdings.remove([nameOf(step.at)], step.at % 2 === 0);
      return;
    case "lose":
      // As one who finds that its file is damaged.
      told.stored.delete(step.at);
      inventory.dropBlob(nameOf(step.at));
      return;
    case "evict":
      for (const at of unitOf(told, step.at)) {
        told.stored.delete(at);
        told.names.delete(at);
      }
      holdings.remove(
        holdings.findUnit(nameOf(step.at)).map((one) => one.digest),
        true,
      );
      return;
    case "use":
      usage.note(nameOf(step.at));
      return;
    case "hold":
    case "free": {
      const one = told.stored.get(step.at);
      if (one !== undefined) one.held = step.do === "hold";
      made.hold(nameOf(step.at), step.do === "hold");
      return;
    }
    case "flush":
      usage.flush();
      return;
    case "reopen":
      made.reopen();
  }
}

const parentsOf = ({ stored, names }: Told, at: number) =>
  [...stored.keys()].filter((one) => names.get(one)?.includes(at) === true);

/** By the definition: what is stored, not held, and named by nothing but what leaves as well. */
function unitOf(told: Told, root: number): Set<number> {
  const unit = new Set<number>(told.stored.has(root) ? [root] : []);
  for (let before = -1; before !== unit.size; ) {
    before = unit.size;
    for (const [at, { held }] of told.stored) {
      const parents = parentsOf(told, at);
      if (!held && parents.length > 0 && parents.every((parent) => unit.has(parent))) unit.add(at);
    }
  }
  return unit;
}

function assertFollows({ inventory, holdings }: IndexRooms, told: Told): void {
  const stored = [...told.stored];
  assert.equal(inventory.blobs, stored.length);
  assert.equal(
    inventory.bytes,
    stored.reduce((sum, [, { size }]) => sum + size, 0),
  );
  for (const upstream of UPSTREAMS) {
    const own = stored.filter(([, one]) => one.upstream === upstream);
    assert.equal(
      holdings.bytesOf(upstream),
      own.reduce((sum, [, { size }]) => sum + size, 0),
    );
  }
  const roots = stored.filter(([at, { held }]) => !held && parentsOf(told, at).length === 0).map(([at]) => at);
  const victims = holdings.findVictims(100);
  assert.deepEqual(victims.map((one) => one.digest).sort(), roots.map(nameOf).sort());
  assert.deepEqual(
    victims.map((one) => one.worth),
    victims.map((one) => one.worth).sort((one, other) => one - other),
  );
  for (const root of roots) {
    const unit = holdings.findUnit(nameOf(root)).map((one) => one.digest);
    assert.deepEqual(unit.sort(), [...unitOf(told, root)].map(nameOf).sort());
  }
}
