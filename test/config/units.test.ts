/** Sizes, durations and listen addresses: what is read, what is refused, and that nothing else ever happens. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { isFailure } from "../../src/base/failure.ts";
import { listenText, parseDuration, parseListen, parseSize, parseSizeLimit, sizeText } from "../../src/config/units.ts";

const refused = (parse: () => unknown, example: RegExp) =>
  assert.throws(parse, (error: unknown) => isFailure(error, "invalid") && example.test(error.message));

test("a size is read with its unit, and a plain number is bytes", () => {
  assert.equal(parseSize("10GiB"), 10 * 2 ** 30);
  assert.equal(parseSize("500MB"), 500e6);
  assert.equal(parseSize("1.5KiB"), 1536);
  assert.equal(parseSize(1234), 1234);
  assert.equal(parseSize("1234"), 1234);
  for (const bad of ["", "10", "-1", "10 GiBs", "GiB", "1e9", "10gib", "0x10", "99999999PiB"].filter(
    (t) => t !== "10",
  )) {
    refused(() => parseSize(bad), /10GiB/);
  }
  for (const bad of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 1e300]) refused(() => parseSize(bad), /10GiB/);
});

test("a size limit may be a share of the file system", () => {
  assert.deepEqual(parseSizeLimit("80%"), { percent: 80 });
  assert.equal(parseSizeLimit("1KB"), 1000);
  for (const bad of ["0%", "101%", "-5%", "%", "80 percent"]) refused(() => parseSizeLimit(bad), /80%/);
});

test("a duration is milliseconds and needs its unit", () => {
  assert.equal(parseDuration("250ms"), 250);
  assert.equal(parseDuration("30s"), 30_000);
  assert.equal(parseDuration("5m"), 300_000);
  assert.equal(parseDuration("12h"), 43_200_000);
  assert.equal(parseDuration("30d"), 2_592_000_000);
  assert.equal(parseDuration(0), 0);
  for (const bad of ["30", 30, "30S", "-1s", "1 hour", ""]) refused(() => parseDuration(bad), /30s/);
});

test("a listen address names host and port", () => {
  assert.deepEqual(parseListen("127.0.0.1:5000"), { host: "127.0.0.1", port: 5000 });
  assert.deepEqual(parseListen("[::]:5000"), { host: "::", port: 5000 });
  assert.deepEqual(parseListen("localhost:0"), { host: "localhost", port: 0 });
  for (const bad of [
    "5000",
    ":5000",
    "::1:5000",
    "1.2.3:80",
    "256.0.0.1:80",
    "a:65536",
    "[1.2.3.4]:80",
    "a b:1",
    "-a:1",
  ]) {
    refused(() => parseListen(bad), /127\.0\.0\.1:5000/);
  }
});

test("any text is read or refused as invalid", () => {
  for (const parse of [parseSize, parseSizeLimit, parseDuration, parseListen] as ((text: string) => unknown)[]) {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9.]{0,20} ?[a-zA-Z%:[\]]{0,4}$/)), (text) => {
        try {
          parse(text);
        } catch (error) {
          assert.ok(isFailure(error, "invalid"));
        }
      }),
    );
  }
});

test("whole units are read back as they were meant", () => {
  fc.assert(fc.property(fc.nat(), (bytes) => parseSize(bytes) === bytes && parseSize(`${bytes}B`) === bytes));
  fc.assert(fc.property(fc.nat(100_000), (s) => parseDuration(`${s}s`) === parseDuration(`${s * 1000}ms`)));
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.nat(65_535), (host, port) => {
      assert.deepEqual(parseListen(listenText({ host, port })), { host, port });
    }),
  );
});

test("a size is said for people", () => {
  assert.equal(sizeText(50 * 2 ** 30), "50GiB");
  assert.equal(sizeText(1536), "1.5KiB");
  assert.equal(sizeText(999), "999 bytes");
});
