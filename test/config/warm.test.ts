import assert from "node:assert/strict";
import { test } from "node:test";
import { schema } from "../../src/config/schema.ts";

function faultsOf(warm: unknown): string[] {
  const { error } = schema.safeParse({ warm });
  return (error?.issues ?? []).map(({ path, message }) => `${path.join(".")}: ${message}`);
}

test("images to fetch by schedule are read with their platforms", () => {
  const images = ["alpine:3.20", "ghcr.io/owner/app", `reg:5000/a/b@sha256:${"a".repeat(64)}`];
  const { warm } = schema.parse({ warm: [{ images, platforms: ["linux/arm64/v8"], schedule: "0 6 * * *" }] });
  assert.deepEqual(warm, [{ images, platforms: ["linux/arm64/v8"], allTags: null, schedule: "0 6 * * *" }]);
  assert.deepEqual(schema.parse({}).warm, []);
});

test("every fault is told where it is, and no time is a fault", () => {
  assert.match(faultsOf([{ images: [], schedule: "@daily" }]).join(), /^warm\.0\.images: expected at least one image$/);
  assert.match(faultsOf([{ images: ["alpine"] }]).join(), /^warm\.0\.schedule: expected when, /);
  for (const image of ["UPPER/x", "a b", "", "a:", "a@sha256:12", 5]) {
    assert.match(faultsOf([{ images: [image], schedule: "@daily" }]).join(), /^warm\.0\.images\.0: expected an image /);
  }
  const platforms = ["linux", "linux/amd64"];
  const of = (more: object) => faultsOf([{ images: ["alpine"], schedule: "@daily", ...more }]).join();
  assert.match(of({ platforms }), /^warm\.0\.platforms\.0: expected a platform/);
  assert.match(of({ schedule: "0 25 * * *" }), /^warm\.0\.schedule: /);
  assert.match(of({ images: ["alpine:3"], allTags: "3.*" }), /^warm\.0\.allTags: needs images without tags/);
  assert.equal(of({ images: ["localhost:5000/a"], allTags: "3.*" }), "");
});
