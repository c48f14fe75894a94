/** What goes wrong upstream, as observers of a whole mirror are told of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { UpstreamNotices } from "../../src/upstream/notices.ts";
import { TestMirror } from "../kit/mirror.ts";
import { play } from "../upstream/scene.ts";

test("a refused account that is accepted again is told of twice, an endpoint that does not answer with its reason", async (t) => {
  let state: "wrong" | "right" | "down" = "wrong";
  const { url } = await play(t, (request, response) => {
    if (state === "down") return response.writeHead(503).end();
    if (state === "right" && request.headers.authorization !== undefined) return response.writeHead(404).end();
    return response.writeHead(401, { "www-authenticate": 'Basic realm="x"' }).end();
  });
  const credentials = [{ username: "robot", password: "pass" }];
  await using mirror = await TestMirror.start({
    upstreams: { "reg.test": url },
    upstream: { credentials, freshness: { notFound: "1ms" } },
    config: { workers: 1, tls: undefined },
  });
  const judged: string[] = [];
  const circuits: UpstreamNotices["upstreamCircuit"][] = [];
  const troubles = new Set<string | undefined>();
  const { notices } = mirror.mirror;
  notices.on("accountJudged", ({ account, verdict }) => judged.push(`${account} ${verdict}`));
  notices.on("upstreamCircuit", (fact) => circuits.push(fact));
  notices.on("upstreamTrouble", ({ account }) => troubles.add(account));
  let tags = 0;
  const pull = async () => (await fetch(`${mirror.url}/v2/team/app${tags % 2}/manifests/t${tags++}`)).status;
  assert.equal(await pull(), 502);
  assert.equal(judged[0], "robot refused");
  assert.deepEqual([...troubles], ["robot"]);
  state = "right";
  // A refusal is believed for a second at least.
  for (; !judged.includes("robot accepted") && tags < 100; await pause(100)) await pull();
  assert.equal(judged.at(-1), "robot accepted");
  state = "down";
  while (circuits.length === 0 && tags < 150) await pull();
  assert.match(circuits[0]?.reason ?? "", /503/);
});
