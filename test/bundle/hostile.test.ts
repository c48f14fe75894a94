/** Archives that are broken or mean harm: each is refused in plain words, and gets nobody anything. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { createGzip, gzipSync } from "node:zlib";
import { type FailureKind, isFailure } from "../../src/base/failure.ts";
import { encodeContents, parseContents } from "../../src/bundle/contents.ts";
import { blobPath } from "../../src/bundle/layout.ts";
import { END, headerOf, paddingOf } from "../../src/bundle/tarball.ts";
import { missingIn, readTree } from "../../src/bundle/tree.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { makeImage } from "../kit/image.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { place } from "../meta/rooms.ts";
import { assertHarmless, filesOf, pack, tarOf, unpack } from "./luggage.ts";
import { Stage } from "./stage.ts";

const app = place("docker.io", "team/app");
const APP = "docker.io/team/app:1";
const image = makeImage({ seed: 1, layers: [1000, 200_000] });
const [small, large] = image.layers;
assert.ok(small !== undefined && large !== undefined);

async function bundle(): Promise<Buffer> {
  await using here = await Stage.open();
  await here.put(app, image, "1");
  return await pack(here, { references: [APP] });
}

const GOOD = await bundle();
const FILES = filesOf(GOOD);

/** No tag and no permission comes of a refused archive; what is left are blobs that are what their names say, and no others. */
async function refused(
  archive: Buffer | Readable,
  kind: FailureKind,
  why: RegExp,
  { maxBytes }: { maxBytes?: number } = {},
): Promise<void> {
  await using there = await Stage.open(maxBytes === undefined ? {} : { maxBytes });
  await assert.rejects(unpack(there, archive), (error) => {
    assert.ok(isFailure(error), String(error));
    assert.match(error.message, why);
    assert.equal(error.kind, kind, error.message);
    assert.ok(!error.message.includes("\n"), "one line");
    return true;
  });
  await assertHarmless(there);
}

/** One file of the good bundle changed, or another one in its place. */
function changed(name: string, change: (bytes: Buffer) => Buffer | undefined): Buffer {
  return tarOf(
    FILES.flatMap((file) => {
      if (file.name !== name) return [file];
      const bytes = change(Buffer.from(file.bytes));
      return bytes === undefined ? [] : [{ name, bytes }];
    }),
  );
}

/** A header with anything in it. */
function header(
  name: string,
  { type = "0", size = 0, link = "" }: { type?: string; size?: number; link?: string } = {},
): Buffer {
  const block = headerOf("x", size);
  block.fill(0, 0, 100).write(name, 0, "latin1");
  block.write(type, 156).toString();
  block.write(link, 157, "latin1");
  block.fill(" ", 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

const before = (entry: Buffer) => Buffer.concat([entry, GOOD]);
/** After the contents, so that something has been taken when it comes. */
const behind = (...entries: Buffer[]) => Buffer.concat([GOOD.subarray(0, GOOD.length - END.length), ...entries, END]);

test("truncated: what came whole stays, named by nothing; the next attempt takes the rest", async () => {
  const cut = GOOD.subarray(0, GOOD.length - 100_000);
  await using there = await Stage.open();
  await assert.rejects(unpack(there, cut), (error) => isFailure(error, "corrupt") && /breaks off/.test(error.message));
  const { blobs, partial } = await there.files();
  assert.deepEqual(partial, []);
  assert.ok(blobs.length >= 1 && !blobs.includes(large.digest.slice(7)));
  assert.equal(there.rooms.inventory.blobs, blobs.length);
  assert.deepEqual(there.rooms.repositories.list(), []);
  const { taken, knownBlobs } = await unpack(there, GOOD);
  assert.equal(knownBlobs, blobs.length);
  assert.equal(taken.blobs + knownBlobs, image.blobs.size + 1);
});

test("cut at every block of its first kilobytes it is never taken for whole", async () => {
  for (let at = 0; at < 8192 && at < GOOD.length; at += 512) {
    await using there = await Stage.open();
    await assert.rejects(unpack(there, Buffer.from(GOOD.subarray(0, at))), (error) => isFailure(error, "corrupt"));
    await assertHarmless(there);
  }
});

test("one flipped bit in any of its files", async () => {
  for (const { name } of FILES) {
    const flipped = changed(name, (bytes) => {
      bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
      return bytes;
    });
    if (name.startsWith("blobs/")) await refused(flipped, "corrupt", /does not match its digest/);
    else if (name === "index.json") await refused(flipped, "corrupt", /index\.json is missing, or not the one/);
    else if (name === "oci-layout") continue;
    else await refused(flipped, "corrupt", /contents\.ndjson|says|lacks|is no/);
  }
});

for (const [what, archive, kind, why] of [
  ["a name that leads up", before(header("../evil")), "invalid", /"\.\.\/evil" is a name that is not let in/],
  ["a name that leads up further down", behind(header("blobs/../../evil")), "invalid", /not let in/],
  ["an absolute name", behind(header("/etc/passwd")), "invalid", /"\/etc\/passwd" is a name/],
  ["a name with a control character", behind(header("blobs/a\x07b")), "invalid", /"blobs\/a\?b" is a name/],
  [
    "a link out of the archive",
    behind(header("x.tar", { type: "2", link: "../../etc/passwd" })),
    "invalid",
    /leads out/,
  ],
  ["an absolute link", behind(header("x.tar", { type: "2", link: "/etc/passwd" })), "invalid", /leads out/],
  ["any link in a bundle", behind(header("x.tar", { type: "2", link: "oci-layout" })), "invalid", /none of its files/],
  ["a hard link", behind(header("x", { type: "1", link: "oci-layout" })), "invalid", /is link: only files/],
  ["a device", behind(header("x", { type: "3" })), "invalid", /is character-device/],
  ["a pipe", behind(header("x", { type: "6" })), "invalid", /is fifo/],
  ["a sparse file of GNU tar", behind(header("x", { type: "S" })), "invalid", /only files/],
  ["a file twice", tarOf([...FILES, ...FILES.slice(-1)]), "invalid", /is there twice/],
  [
    "a blob that nobody listed",
    tarOf([...FILES, { name: blobPath(digestOf(Buffer.from("x"))), bytes: Buffer.from("x") }]),
    "invalid",
    /none of its files/,
  ],
  [
    "a file that nobody knows",
    tarOf([...FILES, { name: "README", bytes: Buffer.from("x") }]),
    "invalid",
    /none of its files/,
  ],
  [
    "contents that do not come first",
    tarOf([...FILES.slice(1), ...FILES.slice(0, 1)]),
    "invalid",
    /does not come first/,
  ],
  ["a blob that is absent", changed(blobPath(large.digest), () => undefined), "corrupt", /lacks sha256/],
  [
    "a blob that is longer",
    changed(blobPath(small.digest), (bytes) => Buffer.concat([bytes, bytes])),
    "corrupt",
    /has 2000 bytes/,
  ],
  ["no image at all", tarOf([{ name: "README", bytes: Buffer.from("hello") }]), "corrupt", /neither index\.json/],
  [
    "no archive at all",
    Buffer.from("this is no archive, but long enough to be one".repeat(50)),
    "corrupt",
    /cannot be read/,
  ],
  [
    "xz",
    Buffer.concat([Buffer.from("\xfd7zXZ\0", "latin1"), Buffer.alloc(2000)]),
    "unsupported",
    /compressed with xz, which is not read here; unpack it first: xzcat ARCHIVE \| wharfinger import -/,
  ],
  ["bzip2", Buffer.concat([Buffer.from("BZh9"), Buffer.alloc(2000)]), "unsupported", /compressed with bzip2/],
  ["lz4", Buffer.concat([Buffer.from([4, 0x22, 0x4d, 0x18]), Buffer.alloc(2000)]), "unsupported", /lz4cat/],
  ["nothing", Buffer.alloc(0), "corrupt", /empty/],
  ["zeros", Buffer.alloc(4096), "corrupt", /empty/],
] as const) {
  test(`refused: ${what}`, () => refused(archive, kind, why));
}

test("pax records that make a file larger, or sparse, than its header says", async () => {
  const pax = (text: string) => {
    const bytes = Buffer.from(text);
    return Buffer.concat([header("pax", { type: "x", size: bytes.length }), bytes, paddingOf(bytes.length)]);
  };
  const file = (name: string) => Buffer.concat([header(name, { size: 5 }), Buffer.from("hello"), paddingOf(5)]);
  await refused(behind(pax("22 GNU.sparse.major=1\n"), file("oci-layout2")), "invalid", /sparse/);
  await refused(behind(pax("30 size=99999999999999999999\n"), file("oci-layout2")), "invalid", /no sensible size/);
  await refused(behind(pax("14 size=-5\n\n\n\n"), file("oci-layout2")), "corrupt", /cannot be read|sensible/);
  await refused(behind(pax("19 path=../../evil\n"), file("innocent")), "invalid", /"\.\.\/\.\.\/evil"/);
});

test("contents that lie: of a later format, with other counts, twice, naming what they do not list", async () => {
  const [contents] = FILES;
  assert.ok(contents !== undefined);
  const lines = contents.bytes.toString().trimEnd().split("\n");
  const [head = "", ...rest] = lines;
  const told = (...lines: string[]) => changed("contents.ndjson", () => Buffer.from(`${lines.join("\n")}\n`));
  await refused(told(head.replace('"version":1', '"version":2'), ...rest), "unsupported", /format 2.*reads format 1/);
  await refused(told(head, ...rest.slice(1)), "corrupt", /less or more/);
  await refused(told(head, ...rest, rest.at(-1) ?? ""), "corrupt", /twice/);
  await refused(told("{}", ...rest), "corrupt", /first line/);
  await refused(told(head, ...rest.slice(1), "[1]"), "corrupt", /no object/);
  const parsed = await parseContents(contents.bytes);
  const short = { ...parsed, pieces: parsed.pieces.filter(({ digest }) => digest !== large.digest) };
  const shortBytes = await encodeContents(short);
  await refused(
    tarOf(
      FILES.flatMap((file) =>
        file === contents ? [{ ...file, bytes: shortBytes }] : file.name === blobPath(large.digest) ? [] : [file],
      ),
    ),
    "corrupt",
    /names sha256:[0-9a-f]+, which the bundle does not list/,
  );
});

test("an archive that expands to endless zeros is given up soon, and nothing of it stays in memory or on disk", async () => {
  const baseline = openResources();
  let fed = 0;
  function* endless(): Generator<Buffer> {
    const zeros = Buffer.alloc(1024 * 1024);
    for (;;) {
      fed += zeros.length;
      if (fed > 512 * 1024 * 1024) return;
      yield zeros;
    }
  }
  await refused(Readable.from(endless()).pipe(createGzip({ level: 1 })), "invalid", /padded beyond reason/);
  assert.ok(fed < 64 * 1024 * 1024, `${fed} bytes were taken`);
  assert.deepEqual(await residueSince(baseline), []);
});

test("a blob that is larger than there is room for is refused before its bytes", async () => {
  const zeros = Buffer.alloc(4 * 1024 * 1024);
  const bomb = tarOf([
    { name: "oci-layout", bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}') },
    { name: blobPath(digestOf(zeros)), bytes: zeros },
  ]);
  await refused(gzipSync(bomb), "storage", /no room for the archive: it brings at least 4194304 bytes, 3145728 more/, {
    maxBytes: 1024 * 1024,
  });
  await refused(
    GOOD,
    "storage",
    /what the bundle brings: 2\d{5} bytes, 1\d{5} more than there is room for \(cache-full\)/,
    { maxBytes: 100_000 },
  );
});

test("an import that is given up leaves no partial file, and what runs ends with it", async () => {
  const baseline = openResources();
  await using there = await Stage.open();
  const abort = new AbortController();
  async function* slow(): AsyncGenerator<Buffer> {
    yield GOOD.subarray(0, GOOD.length - 150_000);
    abort.abort(new Error("enough"));
    yield GOOD.subarray(GOOD.length - 150_000);
  }
  await assert.rejects(unpack(there, Readable.from(slow()), { signal: abort.signal }), /enough/);
  assert.deepEqual((await there.files()).partial, []);
  assert.deepEqual(there.rooms.repositories.list(), []);
  assert.deepEqual(await residueSince(baseline), []);
});

test("permission: a digest that is only named, of content that is stored for others, is not given away", async () => {
  await using there = await Stage.open();
  const secret = Buffer.from("the private layer of somebody else");
  const digest = digestOf(secret);
  await there.putBlob(place("private.example", "secret"), digest, secret);
  const thief = makeImage({ seed: 7, layers: [secret] });
  await using here = await Stage.open();
  await here.put(app, thief, "1");
  const files = filesOf(await pack(here, { references: [APP], have: [digest] }));
  await assert.rejects(
    unpack(there, tarOf(files)),
    (error) => isFailure(error, "denied") && /gives no permission/.test(error.message),
  );
  // Nor by bytes that are none of it, in place of what is stored already.
  const whole = filesOf(await pack(here, { references: [APP] }));
  const forged = whole.map((file) =>
    file.name === blobPath(digest) ? { ...file, bytes: Buffer.alloc(secret.length) } : file,
  );
  await assert.rejects(unpack(there, tarOf(forged)), (error) => isFailure(error, "corrupt"));
  assert.equal(there.rooms.graph.findReachable(app, digest), undefined);
  await unpack(there, tarOf(whole));
  assert.equal(there.rooms.graph.findReachable(app, digest)?.confirmed, true);
});

test("what others rely on by then stays when an import is refused: their tags, their pins, and every byte", async () => {
  await using there = await Stage.open();
  const { promise: go, resolve: finish } = Promise.withResolvers<void>();
  const { promise: taken, resolve: begun } = Promise.withResolvers<void>();
  async function* bad(): AsyncGenerator<Buffer> {
    yield GOOD.subarray(0, GOOD.length - END.length);
    begun();
    await go;
    yield Buffer.concat([header("../evil"), END]);
  }
  const refused = unpack(there, Readable.from(bad()));
  await taken;
  while (there.rooms.inventory.blobs <= image.blobs.size) await new Promise((resolve) => setImmediate(resolve));
  const good = await unpack(there, GOOD);
  assert.equal(good.taken.blobs, 0);
  finish();
  await assert.rejects(refused, (error) => isFailure(error, "invalid"));
  assert.equal(there.rooms.tags.find(app, parseTag("1"))?.digest, image.digest);
  for (const digest of [image.digest, ...image.blobs.keys()]) {
    assert.ok(there.store.has(digest) && there.rooms.inventory.findSize(digest) !== undefined, digest);
    assert.equal(there.rooms.graph.findReachable(app, digest)?.confirmed, true);
  }
  assert.deepEqual(missingIn(await readTree(there.parts, app, image.digest)), []);
});

test("a list of images that names the same layer millions of times is refused before much is made of it", async () => {
  const layer = { name: "a.tar", bytes: Buffer.alloc(1024) };
  const config = Buffer.from('{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}');
  const name = `${digestOf(config).slice(7)}.json`;
  const archive = (images: number, layers: number) => {
    const one = (at: number) => ({ Config: name, RepoTags: [`x:${at}`], Layers: Array(layers).fill("a.tar") });
    const list = Buffer.from(JSON.stringify(Array.from({ length: images }, (_, at) => one(at))));
    return tarOf([layer, { name, bytes: config }, { name: "manifest.json", bytes: list }]);
  };
  await refused(archive(4000, 500), "invalid", /manifest\.json is too large/);
  await refused(archive(200, 1000), "corrupt", /more than 50000 layers/);
  const long = Array.from({ length: 100_000 }, () => ({ digest: digestOf(config), size: 1, mediaType: "" }));
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: long }));
  const files = [
    { name: "index.json", bytes: index },
    { name: "oci-layout", bytes: Buffer.from('{"imageLayoutVersion":"1.0.0"}') },
  ];
  await refused(tarOf(files), "invalid", /index\.json is too large/);
});
