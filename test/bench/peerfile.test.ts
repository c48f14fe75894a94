/** Peers that are described by a file. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fillIn, parsePeer } from "../../bench/peerfile.ts";

const LEAST = { name: "other", what: "another mirror", command: "other", args: ["--port={port}"] };
const parse = (peer: unknown) => parsePeer(JSON.stringify(peer), "peer.json");

test("the least that a peer needs is a name, what it is, a command and its arguments", () => {
  assert.deepEqual(parse(LEAST), {
    ...LEAST,
    env: {},
    files: {},
    ready: "/v2/",
    blob: "/v2/{repository}/blobs/{digest}",
    manifest: "/v2/{repository}/manifests/{tag}",
  });
});

test("files may be text or JSON, with braces of their own", () => {
  const { files } = parse({ ...LEAST, files: { "a.conf": "server { listen {port}; }", "b.json": { port: "{port}" } } });
  assert.equal(fillIn(files["a.conf"] ?? "", { port: 5 }), "server { listen 5; }");
  assert.deepEqual(JSON.parse(fillIn(files["b.json"] ?? "", { port: 5 })), { port: "5" });
});

const WRONG: readonly (readonly [string, unknown, RegExp])[] = [
  ["not an object", [], /must be an object/],
  ["no name", { ...LEAST, name: undefined }, /name must be a text/],
  ["a name that would leave its directory", { ...LEAST, name: "../x" }, /name must be letters/],
  ["a name that is taken", { ...LEAST, name: "nginx" }, /name nginx is taken/],
  ["no description", { ...LEAST, what: "" }, /what must be a text/],
  ["arguments in one text", { ...LEAST, args: "--port 1" }, /args must be a list/],
  ["arguments that are no texts", { ...LEAST, args: [1] }, /args must be a list/],
  ["a misspelt key", { ...LEAST, argz: [] }, /unknown key argz/],
  ["a misspelt placeholder", { ...LEAST, args: ["{prot}"] }, /args\[0\]: unknown placeholder \{prot\}/],
  ["a placeholder of another place", { ...LEAST, blob: "/{port}" }, /blob: unknown placeholder \{port\}/],
  ["a path that is none", { ...LEAST, ready: "v2" }, /ready must begin with \//],
  ["a file elsewhere", { ...LEAST, files: { "../x": "" } }, /plain file name/],
  ["variables that are no texts", { ...LEAST, env: { A: 1 } }, /env\.A must be a text/],
];
for (const [title, peer, message] of WRONG) {
  test(`refused, with the file's name: ${title}`, () => {
    assert.throws(() => parse(peer), { message });
    assert.throws(() => parse(peer), /^Error: peer\.json: /);
  });
}

test("what is not JSON is refused with the file's name", () => {
  assert.throws(() => parsePeer("{", "peer.json"), /^Error: peer\.json: is not JSON/);
});

test("braces without a value stay as they are", () => {
  assert.equal(fillIn("{port} {else} {}", { port: 1 }), "1 {else} {}");
});
