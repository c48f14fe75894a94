/** Permissions to read what is not here are forgotten after a while, and no others. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Notices } from "../../src/base/notices.ts";
import type { MirrorNotices } from "../../src/mirror/notices.ts";
import { OCI_MANIFEST } from "../../src/oci/mediatypes.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { IdlePermissions } from "../../src/upkeep/permissions.ts";
import { ManualClock } from "../kit/clock.ts";
import { digest, place, withRooms } from "../meta/rooms.ts";

const HOUR = 60 * 60_000;
const app = place("docker.io", "team/app");

test("what was only asked about is forgotten between one and two hours later; what is here, named or tagged stays", () =>
  withRooms(async ({ graph, inventory, tags }) => {
    const clock = new ManualClock();
    const stopping = new AbortController();
    const notices = new Notices<MirrorNotices>();
    const keeper = new IdlePermissions({ graph, clock, notices, signal: stopping.signal });
    const link = (...names: string[]) =>
      graph.link(
        app,
        names.map((name) => ({ digest: digest(name), sizeBytes: 1, confirmed: true })),
      );
    const known = (name: string) => graph.findReachable(app, digest(name)) !== undefined;
    const asked = Array.from({ length: 250 }, (_, at) => `asked ${at}`);
    link(...asked, "image", "layer", "tagged");
    inventory.addManifest(digest("image"), OCI_MANIFEST, { children: [digest("layer")], subject: undefined });
    inventory.addBlob(digest("image"), 1, "docker.io", 0);
    tags.put(app, parseTag("1"), digest("tagged"), 1);
    const hour = async () => {
      await clock.advance(HOUR);
      for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    };
    keeper.start();
    await hour();
    assert.ok(asked.every(known));
    link("late", "stored late");
    await hour();
    assert.deepEqual(asked.filter(known), []);
    assert.ok(["image", "layer", "tagged", "late", "stored late"].every(known));
    inventory.addBlob(digest("stored late"), 1, "docker.io", 0);
    await hour();
    assert.deepEqual([known("late"), known("stored late")], [false, true]);
    stopping.abort();
    await keeper.stop();
    assert.equal(clock.pending, 0);
  }));
