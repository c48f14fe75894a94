/** The upstreams of a configuration, opened: what is wrong with the files that it names. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../src/base/clock.ts";
import { Notices } from "../src/base/notices.ts";
import { loadConfig } from "../src/config/load.ts";
import type { MirrorNotices } from "../src/mirror/notices.ts";
import { openSources } from "../src/sources.ts";
import { fileOf } from "./cli/stage.ts";

test("what files hold wrongly is told all at once, with upstream and item", async (t) => {
  const empty = await fileOf(t, "empty", "");
  const broken = await fileOf(t, "config.json", "{");
  const credentials = [
    { username: "a", password: "b" },
    { username: "a", passwordFile: empty },
  ];
  const upstreams = {
    "a.test": { credentials },
    "b.test": { credentials: [{ dockerConfig: broken }], tls: { ca: empty } },
  };
  const file = await fileOf(t, "config.yaml", JSON.stringify({ defaultUpstream: "a.test", upstreams }));
  const surroundings = { notices: new Notices<MirrorNotices>(), clock: systemClock, signature: "test" };
  await assert.rejects(openSources(loadConfig({ file }), surroundings), (error: Error) => {
    assert.match(error.message, /^3 faults\n/);
    assert.match(error.message, /upstreams\.a\.test\.credentials\.1 \(2nd item\): .*is empty/);
    assert.match(error.message, /upstreams\.b\.test\.credentials\.0 \(1st item\): .*is not JSON/);
    assert.match(error.message, /upstreams\.b\.test\.tls\.ca: /);
    return true;
  });
});
