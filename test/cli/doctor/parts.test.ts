/** The pure parts of the doctor: TOML, and what is thought of a disk. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { judgeDisk } from "../../../src/cli/doctor/disk.ts";
import { readToml } from "../../../src/cli/doctor/toml.ts";

test("tables, arrays of tables, quoted keys and lists over lines are read, comments and the rest passed over", () => {
  const text = `
# comment = "no"
server = "https://x" # why
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '/etc/containerd/certs.d'
[host."http://[::1]:5000"]
  capabilities = ["pull", # first
    "resolve"]
  skip_verify = false
  a.b = 3
[[registry]]
location = "a"
[[registry]]
location = "b#c"
nonsense
key =
date = 1979-05-27
`;
  const read = readToml(text).map(({ table, header, key, value }) => [header, [...table, key].join("|"), value]);
  assert.deepEqual(read, [
    [0, "server", "https://x"],
    [1, "plugins|io.containerd.cri.v1.images|registry|config_path", "/etc/containerd/certs.d"],
    [2, "host|http://[::1]:5000|capabilities", ["pull", "resolve"]],
    [2, "host|http://[::1]:5000|skip_verify", false],
    [2, "host|http://[::1]:5000|a|b", 3],
    [3, "registry|location", "a"],
    [4, "registry|location", "b#c"],
  ]);
});

test("whatever the text is, reading TOML ends and never throws", () => {
  const piece = fc.constantFrom("[", "]", "[[", '"', "'", "\\", "=", ".", "#", "\n", "a", "host", " ", "true", "1");
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece, { maxLength: 60 }).map((all) => all.join("")),
      ),
      (text) => {
        for (const { key } of readToml(text)) assert.equal(typeof key, "string");
      },
    ),
  );
});

const GIB = 1024 ** 3;
const roomy = { type: 0xef53, totalBytes: 100 * GIB, freeBytes: 50 * GIB };
const cache = { dir: "/cache", maxSize: 10 * GIB, minFree: GIB };

test("a local disk with room is good; a full, a small and an unfit one are told", () => {
  const states = (given: object, disk: object) =>
    judgeDisk({ ...cache, ...given }, { ...roomy, ...disk }).map(({ state }) => state);
  assert.deepEqual(states({}, {}), ["ok"]);
  assert.deepEqual(states({ maxSize: { percent: 80 } }, {}), ["ok"]);
  assert.deepEqual(states({}, { freeBytes: GIB / 2 }), ["fail"]);
  assert.deepEqual(states({ maxSize: 200 * GIB }, {}), ["warn"]);
  for (const type of [0x01021994, 0x794c7630, 0x6969]) assert.deepEqual(states({}, { type }), ["warn"]);
  assert.deepEqual(states({}, { type: 0x6969, freeBytes: 0 }), ["warn", "fail"]);
});
