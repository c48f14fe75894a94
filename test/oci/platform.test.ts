import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import {
  manifestsFor,
  matchesPlatform,
  offersPlatform,
  parsePlatform,
  parsePlatforms,
  platformText,
} from "../../src/oci/platform.ts";

const written = (text: string) => platformText(parsePlatform(text));

test("platforms are read under all their usual names", () => {
  assert.equal(written("linux/amd64"), "linux/amd64");
  assert.equal(written("linux/arm64/v8"), "linux/arm64/v8");
  assert.equal(written("Linux/AArch64"), "linux/arm64");
  assert.equal(written("linux/x86_64"), "linux/amd64");
  assert.equal(written("linux/armhf"), "linux/arm/v7");
  assert.equal(written("linux/arm/7"), "linux/arm/v7");
  assert.equal(written("windows/amd64"), "windows/amd64");
  assert.equal(written("linux/386"), "linux/386");
});

test("what is no platform is refused", () => {
  const bad = [
    "",
    "linux",
    "linux/",
    "/amd64",
    "linux/amd64/v1/x",
    "linux/am d64",
    "../amd64",
    "linux/amd64\n/x",
    "a".repeat(300),
  ];
  for (const text of bad)
    assert.throws(
      () => parsePlatform(text),
      (error) => isFailure(error, "invalid"),
      text,
    );
  assert.throws(
    () => parsePlatforms("linux/amd64,"),
    (error) => isFailure(error, "invalid"),
  );
});

test("a list names each platform once", () => {
  assert.deepEqual(parsePlatforms("linux/amd64, linux/arm64,linux/x86_64").map(platformText), [
    "linux/amd64",
    "linux/arm64",
  ]);
});

test("whoever names no variant wants any, and the usual variant goes without saying", () => {
  const matches = (wanted: string, offered: string) => matchesPlatform(parsePlatform(wanted), parsePlatform(offered));
  assert.ok(matches("linux/arm64", "linux/arm64/v8"));
  assert.ok(matches("linux/arm64/v8", "linux/arm64"));
  assert.ok(matches("linux/arm", "linux/arm/v6"));
  assert.ok(matches("linux/arm/v7", "linux/arm"));
  assert.ok(matches("linux/amd64/v1", "linux/amd64"));
  assert.ok(!matches("linux/arm/v6", "linux/arm/v7"));
  assert.ok(!matches("linux/arm/v6", "linux/arm"));
  assert.ok(!matches("linux/amd64/v3", "linux/amd64"));
  assert.ok(!matches("linux/amd64", "linux/arm64"));
  assert.ok(!matches("linux/amd64", "windows/amd64"));
});

const digest = (name: string) => digestOf(Buffer.from(name));

function indexOf(entries: readonly object[]) {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: entries }));
  return { bytes, named: parseManifest(bytes, undefined).manifests };
}

function entry(name: string, platform: string | undefined, about?: Digest): object {
  const [os, architecture, variant] = platform?.split("/") ?? [];
  return {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: digest(name),
    size: 10,
    ...(platform === undefined
      ? {}
      : { platform: { os, architecture, ...(variant === undefined ? {} : { variant }) } }),
    ...(about === undefined
      ? {}
      : { annotations: { "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": about } }),
  };
}

test("of an index those manifests are wanted that are for the platforms, with their attestations", () => {
  const { bytes, named } = indexOf([
    entry("amd", "linux/amd64"),
    entry("arm", "linux/arm64/v8"),
    entry("of amd", "unknown/unknown", digest("amd")),
    entry("of arm", "unknown/unknown", digest("arm")),
    entry("of nobody", "unknown/unknown"),
    entry("anywhere", undefined),
  ]);
  const wanted = (text: string) => manifestsFor(bytes, named, parsePlatforms(text)).map((one) => one.digest);
  assert.deepEqual(wanted("linux/amd64"), ["amd", "of amd", "of nobody", "anywhere"].map(digest));
  assert.deepEqual(wanted("linux/arm64"), ["arm", "of arm", "of nobody", "anywhere"].map(digest));
  assert.equal(wanted("linux/amd64,linux/arm64").length, 6);
  assert.deepEqual(manifestsFor(bytes, named, []), named);
});

test("an index without the platform is told from one that has it", () => {
  const { named } = indexOf([entry("amd", "linux/amd64"), entry("of amd", "unknown/unknown", digest("amd"))]);
  assert.ok(offersPlatform(named, parsePlatform("linux/amd64")));
  assert.ok(!offersPlatform(named, parsePlatform("linux/s390x")));
  assert.ok(offersPlatform(indexOf([entry("any", undefined)]).named, parsePlatform("linux/s390x")));
});
