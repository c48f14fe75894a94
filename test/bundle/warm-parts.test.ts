/** The parts of warming by themselves: names, patterns, sums, and whose turn it is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isFailure } from "../../src/base/failure.ts";
import { Notices } from "../../src/base/notices.ts";
import { WarmPace } from "../../src/bundle/warm-pace.ts";
import { Piece, Tally } from "../../src/bundle/warm-tally.ts";
import { matchesGlob, parseUntagged, parseWarmName, tagsMatching } from "../../src/bundle/warm-target.ts";
import { keepWorth } from "../../src/bundle/warm-worth.ts";
import { placeKey } from "../../src/meta/repositories.ts";
import { HALF_LIFE_MS } from "../../src/meta/worth.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { referenceText } from "../../src/oci/reference.ts";
import { ManualClock } from "../kit/clock.ts";
import { routeOf } from "../mirror/parts.ts";

test("references are read as Docker writes them", () => {
  const read = (text: string) => {
    const { place, reference } = parseWarmName(text);
    return [placeKey(place), referenceText(reference)];
  };
  const digest = `sha256:${"a".repeat(64)}`;
  assert.deepEqual(read("alpine"), ["docker.io/library/alpine", "latest"]);
  assert.deepEqual(read("owner/app:1.2"), ["docker.io/owner/app", "1.2"]);
  assert.deepEqual(read("localhost:5000/a/b"), ["localhost:5000/a/b", "latest"]);
  assert.deepEqual(read(`GHCR.io/o/a:1@${digest}`), ["ghcr.io/o/a", digest]);
  assert.equal(placeKey(parseUntagged("localhost:5000/a").place), "localhost:5000/a");
  for (const bad of [
    "",
    ":1",
    "a:",
    "a@b",
    "A/b",
    "a b",
    "ghcr.io/",
    `a@${digest}x`,
    "a".repeat(700),
    "../a",
    "a//b",
  ]) {
    for (const parse of [parseWarmName, parseUntagged]) {
      assert.throws(
        () => parse(bad),
        (error) => isFailure(error, "invalid"),
        bad,
      );
    }
  }
  for (const named of ["a:1", `a@${digest}`, "localhost:5000/a:1"]) {
    assert.throws(() => parseUntagged(named), /named without one/);
  }
});

test("patterns of tags match whole tags, in bounded time", () => {
  const cases: [string, string, boolean][] = [
    ["3.*", "3.20", true],
    ["3.*", "13.20", false],
    ["*", "", true],
    ["?", "ab", false],
    ["1.2?", "1.25", true],
    ["*-alpine*", "1.2-alpine3.20", true],
    ["a.c", "abc", false],
    ["", "a", false],
    ["*a*b", "aaab", true],
    ["*a*b", "aaac", false],
  ];
  for (const [pattern, text, expected] of cases)
    assert.equal(matchesGlob(pattern, text), expected, `${pattern} ${text}`);
  assert.equal(matchesGlob("*a".repeat(60), `${"a".repeat(128)}b`), false);
  const hex = "0".repeat(64);
  assert.deepEqual(tagsMatching(["1", `sha256-${hex}`, `sha256-${hex}.sig`, "sha256-x"], "*"), ["1", "sha256-x"]);
});

test("sums count what is here, what is coming, and nothing of what is lost", () => {
  const tally = new Tally();
  const [here, coming, lost, unknown] = [new Piece(100), new Piece(50), new Piece(30), new Piece(-1)];
  for (const piece of [here, coming, lost, unknown]) tally.add(piece);
  assert.deepEqual(tally.sums, { doneBytes: 0, totalBytes: 180 });
  coming.progress = () => 20;
  here.arrived();
  lost.lost();
  assert.deepEqual(tally.sums, { doneBytes: 120, totalBytes: 150 });
  coming.progress = () => 500;
  assert.deepEqual(tally.sums, { doneBytes: 150, totalBytes: 150 });
  coming.arrived();
  assert.deepEqual(tally.sums, { doneBytes: 150, totalBytes: 150 });
});

function paced(maxPasses = 8) {
  const clock = new ManualClock();
  const notices = new Notices<MirrorNotices>();
  const pace = new WarmPace(clock, notices);
  const source = { ...routeOf().source, maxPasses };
  const began = (digest: string) => notices.emit("fillStarted", { upstream: source.name, digest });
  const ended = (digest: string) =>
    notices.emit("fillEnded", { upstream: source.name, digest, bytes: 1, durationMs: 1, failure: undefined });
  const signal = new AbortController().signal;
  const turn = (digest: string) => {
    const state = { release: undefined as (() => void) | undefined };
    void pace.turn(source, digest, signal).then((release) => {
      state.release = release;
    });
    return state;
  };
  return { clock, pace, turn, began, ended, source };
}

test("a blob is not begun while a client's fill runs on its upstream, for a while", async () => {
  const { clock, pace, turn, began, ended } = paced();
  began("client");
  const [one, joined] = [turn("one"), turn("client")];
  await clock.advance(1000);
  assert.equal(one.release, undefined);
  assert.notEqual(joined.release, undefined, "what the client fetches is joined at once");
  ended("client");
  await clock.advance(0);
  assert.notEqual(one.release, undefined);
  // What warming itself began keeps nobody waiting.
  began("one");
  const two = turn("two");
  await clock.advance(0);
  assert.notEqual(two.release, undefined);
  began("another");
  const three = turn("three");
  await clock.advance(9000);
  assert.equal(three.release, undefined);
  await clock.advance(1000);
  assert.notEqual(three.release, undefined, "clients that never cease do not stop it for good");
  assert.equal(clock.pending, 0);
  pace.stop();
});

test("few blobs are under way at a time, and fewer where the upstream allows few connections", async () => {
  for (const [maxPasses, expected] of [
    [8, 4],
    [1, 1],
  ] as const) {
    const { clock, pace, turn } = paced(maxPasses);
    const turns = Array.from({ length: 6 }, (_, at) => turn(`${at}`));
    await clock.advance(0);
    assert.equal(turns.filter(({ release }) => release !== undefined).length, expected);
    turns[0]?.release?.();
    await clock.advance(0);
    assert.equal(turns.filter(({ release }) => release !== undefined).length, expected + 1);
    pace.stop();
  }
});

test("whoever leaves while waiting for a turn leaves nothing behind", async () => {
  const { clock, pace, began, source } = paced(1);
  began("client");
  const abort = new AbortController();
  const waits = [pace.turn(source, "one", abort.signal), pace.turn(source, "two", abort.signal)];
  await clock.advance(0);
  abort.abort(new Error("left"));
  for (const wait of waits) await assert.rejects(wait, /left/);
  assert.equal(clock.pending, 0);
  const release = await pace.turn(source, "client", new AbortController().signal);
  release();
  pace.stop();
});

test("what is wanted warm again and again is noted as used twice a day at most", () => {
  let now = 10 * HALF_LIFE_MS;
  let worth = now;
  let notes = 0;
  const usage = {
    now: () => now,
    worthOf: () => worth,
    note: () => {
      notes += 1;
      worth = now;
    },
  };
  const digest = digestOf(Buffer.from("warm"));
  for (let half = 0; half < 48; half++) {
    keepWorth(usage, digest);
    now += HALF_LIFE_MS / 48;
  }
  assert.equal(notes, 1);
  worth = Number.NEGATIVE_INFINITY;
  keepWorth(usage, digest);
  assert.equal(notes, 2);
});
