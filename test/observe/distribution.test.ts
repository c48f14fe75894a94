/** The lean histogram says what prom-client's own would say. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram, Registry } from "prom-client";
import { Distribution } from "../../src/observe/distribution.ts";

test("the text is prom-client's own, at bounds and beyond them", async () => {
  const configuration = { name: "x_seconds", help: "h", labelNames: ["kind"] as const, buckets: [0.1, 1, 10] };
  const [ours, theirs] = [new Registry(), new Registry()];
  const lean = new Distribution({ ...configuration, registers: [ours] });
  const plain = new Histogram({ ...configuration, registers: [theirs] });
  for (const kind of ["blob", "manifest"]) {
    const series = lean.of({ kind });
    for (const value of [0, 0.1, 0.100001, 1, 5, 10, 10.5, 1e6]) {
      series.observe(value);
      plain.observe({ kind }, value);
    }
    assert.equal(lean.of({ kind }), series);
  }
  assert.equal(await ours.metrics(), await theirs.metrics());
  assert.equal(await ours.metrics(), await theirs.metrics(), "and again");
});
