/** What fronts are told of running fills. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Fill } from "../../src/mirror/fill.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { Fillings } from "../../src/workers/fillings.ts";
import { routeOf } from "../mirror/parts.ts";

test("the end of a failed fill does not hide the one that began before it", () => {
  const digest = digestOf(Buffer.from("a blob"), "sha256");
  let running: Fill | undefined;
  const told: (string | undefined)[] = [];
  const fillings = new Fillings({ find: () => running }, ({ value }) => told.push(value?.repository));
  running = { route: routeOf("docker.io", "library/first") } as Fill;
  fillings.changed(digest);
  running = { route: routeOf("docker.io", "library/second") } as Fill;
  fillings.changed(digest);
  // The first one's end.
  fillings.changed(digest);
  assert.deepEqual(fillings.entries(), [[digest, { upstream: "docker.io", repository: "library/second" }]]);
  running = undefined;
  fillings.changed(digest);
  assert.deepEqual(fillings.entries(), []);
  assert.deepEqual(told, ["library/first", "library/second", "library/second", undefined]);
});
