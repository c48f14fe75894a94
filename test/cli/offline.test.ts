/** A mirror that contacts nobody starts without the secrets that it would have shown. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { createMirror } from "../../src/app.ts";
import { schema } from "../../src/config/schema.ts";
import { makeTempDir } from "../kit/temp.ts";

test("an offline mirror opens with a secret that is not there", async () => {
  await using dir = await makeTempDir("offline");
  const config = (offline: boolean) =>
    schema.parse({
      cache: { dir: join(dir.path, String(offline)) },
      offline,
      upstreams: { "docker.io": { credentials: [{ username: "robot", passwordFile: join(dir.path, "nothing") }] } },
    });
  const options = { version: "0", log: false };
  await assert.rejects(createMirror(config(false), options), /cannot read the file/);
  const mirror = await createMirror(config(true), options);
  await mirror.stop();
});
