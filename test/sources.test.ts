/** The upstreams of a configuration, opened: what is wrong with the files that it names. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../src/base/clock.ts";
import { Notices } from "../src/base/notices.ts";
import { loadConfig } from "../src/config/load.ts";
import type { MirrorNotices } from "../src/mirror/notices.ts";
import { openSources } from "../src/sources.ts";
import { fileOf } from "./cli/stage.ts";
import { ManualClock } from "./kit/clock.ts";
import { app, latest, never, play } from "./upstream/scene.ts";

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

test("a refusal is believed for a second at least, also where absences are not believed at all", async (t) => {
  let shown = 0;
  const registry = await play(t, (request, response) => {
    if (request.headers.authorization !== undefined) shown += 1;
    response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
  });
  const settings = {
    url: registry.url,
    allowPrivate: true,
    credentials: [{ username: "a", password: "wrong" }],
    freshness: { notFound: "0s" },
  };
  const config = { defaultUpstream: "a.test", upstreams: { "a.test": settings } };
  const file = await fileOf(t, "config.yaml", JSON.stringify(config));
  const clock = new ManualClock();
  const surroundings = { notices: new Notices<MirrorNotices>(), clock, signature: "test" };
  const sources = await openSources(loadConfig({ file }), surroundings);
  t.after(() => sources.close());
  const refused = async () => {
    for (const { upstream } of sources.all) {
      await assert.rejects(upstream.headManifest(app, latest, never), { kind: "refused" });
    }
  };
  for (let at = 0; at < 3; at++) await refused();
  assert.equal(shown, 1);
  clock.jump(1000);
  await refused();
  assert.equal(shown, 2);
});
