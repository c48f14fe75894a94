/** Descriptors that are kept: only of what is asked for often, and never under a reader. */
import assert from "node:assert/strict";
import { closeSync, fstatSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { HotFiles } from "../../src/store/hotfiles.ts";
import { OpenFile } from "../../src/store/openfile.ts";
import { makeTempDir } from "../kit/temp.ts";

const digest = digestOf(Buffer.from("hot"));

async function withFile(work: (open: () => OpenFile) => Promise<void>): Promise<void> {
  await using dir = await makeTempDir("hot");
  const path = join(dir.path, "file");
  writeFileSync(path, "hot");
  await work(() => new OpenFile(openSync(path, "r")));
}

const identity = () => "of no interest";
const closed = async (fd: number): Promise<void> => {
  for (;;) {
    try {
      fstatSync(fd);
    } catch {
      return;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
};

test("what is opened now and then is not kept", () =>
  withFile(async (open) => {
    const files = new HotFiles();
    for (let at = 0; at < 5; at += 1) {
      assert.equal(files.find(digest), undefined);
      const file = open();
      files.note(digest, { file, sizeBytes: 3, identity });
      file.release();
      await closed(file.fd);
    }
  }));

test("what is opened often is kept, with its readers or without, and closed when it is dropped", () =>
  withFile(async (open) => {
    const files = new HotFiles();
    let opened = 0;
    let last: OpenFile | undefined;
    for (let at = 0; at < 50; at += 1) {
      const found = files.find(digest) ?? { file: open(), sizeBytes: 3, identity };
      if (found.file !== last) opened += 1;
      last = found.file;
      files.note(digest, found);
      found.file.release();
    }
    assert.ok(opened <= 10, `opened ${opened} times`);
    const reader = files.find(digest);
    assert.ok(reader !== undefined && last !== undefined);
    files.drop(digest);
    assert.equal(files.find(digest), undefined);
    assert.equal(fstatSync(reader.file.fd).size, 3, "a reader keeps it");
    reader.file.release();
    await closed(last.fd);
    assert.throws(() => closeSync(last?.fd ?? -1));
  }));

test("it does not stay hot for ever: what changed behind our back is seen after a second", () =>
  withFile(async (open) => {
    const files = new HotFiles();
    for (let at = 0; at < 8; at += 1) files.note(digest, { file: open(), sizeBytes: 3, identity });
    const found = files.find(digest);
    assert.ok(found);
    found.file.release();
    while (files.find(digest) !== undefined) {
      found.file.release();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    files.clear();
  }));
