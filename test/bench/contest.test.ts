/** A contest goes on without those that cannot take part, and says who they are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Library } from "../../bench/library.ts";
import { parsePeer } from "../../bench/peerfile.ts";
import { Bench, type Trouble } from "../../bench/scenario.ts";
import { makeTempDir } from "../kit/temp.ts";

/** Serves the library's files as they are, or with their first byte changed, or goes away at the third request. */
const SERVER = `
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
const [port, file, how] = process.argv.slice(2);
let count = 0;
createServer((request, response) => {
  if (request.url === "/v2/") { response.end(); return; }
  if (how === "leaving" && ++count > 2) process.exit(3);
  const body = readFileSync(file);
  if (how === "wrong") body[0] ^= 1;
  response.setHeader("content-length", body.length);
  response.end(body);
}).listen(Number(port), "127.0.0.1");
`;

function peer(name: string, file: string, command = process.execPath) {
  const args = ["{dir}/server.mjs", "{port}", file, name];
  return parsePeer(JSON.stringify({ name, what: "a test", command, args, files: { "server.mjs": SERVER } }), name);
}

test("a peer that is missing, answers wrong or goes away is told about, and the others are measured", async () => {
  await using temp = await makeTempDir();
  const library = new Library(temp.path);
  const blob = await library.blob(100_000, 1);
  const peers = [
    peer("absent", blob.file, "no-such-program-anywhere"),
    peer("wrong", blob.file),
    peer("leaving", blob.file),
    peer("right", blob.file),
  ];
  const count = async () => ({ blobGets: 0, all: 0, bytes: 0 });
  const origin = { port: 1, url: "http://127.0.0.1:1", forget: async () => {}, count };
  const told: Trouble[] = [];
  const parts = { dir: temp.path, quick: true, library, origin, peers, profileDir: undefined };
  await using bench = new Bench(
    "contest",
    parts,
    () => {},
    (trouble) => told.push(trouble),
  );
  const started = await bench.peers(["files"]);
  assert.deepEqual(
    started.map(({ name }) => name),
    ["wrong", "leaving", "right"],
  );
  const puller = bench.puller();
  const right = await bench.right(started, blob, puller);
  assert.deepEqual(
    right.map(({ name }) => name),
    ["leaving", "right"],
  );
  await bench.rounds(right, 3, async ({ port, blobPath }) => {
    const targets = [{ port, path: blobPath(blob) }];
    const { answers } = await puller.run({ kind: "series", targets, pauseMs: 0 });
    return { wallSeconds: (answers[0]?.totalMs ?? Number.NaN) / 1000 };
  });

  assert.deepEqual([...bench.samples.keys()], ["right"]);
  assert.equal(bench.series("right", "wallSeconds").length, 3);
  assert.deepEqual(
    told.map(({ kind, message }) => `${kind} ${message.split(":", 1)[0]}`),
    ["missing absent", "not ranked wrong", "not ranked leaving"],
  );
  assert.match(told[0]?.message ?? "", /no-such-program-anywhere is not installed/);
  assert.match(told[1]?.message ?? "", /wrong answer: 200, sha256:/);
});

test("the mirror's own failure is not passed over", async () => {
  await using temp = await makeTempDir();
  const library = new Library(temp.path);
  const blob = await library.blob(1000, 1);
  const count = async () => ({ blobGets: 0, all: 0, bytes: 0 });
  const origin = { port: 1, url: "http://127.0.0.1:1", forget: async () => {}, count };
  const parts = {
    dir: temp.path,
    quick: true,
    library,
    origin,
    peers: [peer("wrong", blob.file)],
    profileDir: undefined,
  };
  await using bench = new Bench(
    "contest",
    parts,
    () => {},
    () => {},
  );
  const [started] = await bench.peers(["files"]);
  assert.ok(started !== undefined);
  await assert.rejects(bench.right([{ ...started, name: "mirror" }], blob, bench.puller()), /wrong answer/);
});
