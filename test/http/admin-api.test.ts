/** The admin API on the wire: bodies as they come, clients that leave, and uploads that nobody wanted. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { Readable } from "node:stream";
import test from "node:test";
import { type AnswerAdmin, createAdminApiListener } from "../../src/http/admin-api.ts";
import { DEFAULT_LIMITS, Listener } from "../../src/http/listener.ts";
import { get, open, sendRaw } from "../kit/http.ts";
import { openResources, residueSince } from "../kit/residue.ts";

async function serving(answer: AnswerAdmin, work: (url: string) => Promise<void>): Promise<void> {
  const baseline = openResources();
  const handle = createAdminApiListener({ answer, names: new Set(["admin.example"]) });
  const listener = new Listener(handle, { ...DEFAULT_LIMITS, requestTimeoutMs: 0 });
  const { port } = await listener.start({ host: "127.0.0.1", port: 0 });
  try {
    await work(`http://127.0.0.1:${port}`);
  } finally {
    await listener.stop(0);
  }
  assert.deepEqual(await residueSince(baseline), []);
}

const OK = { status: 200, headers: { "Content-Type": "application/json" } };

test("lines reach the client as they come, and its leaving ends what sends them", async () => {
  const lines = new Readable({ read() {} });
  const signals: AbortSignal[] = [];
  const answer: AnswerAdmin = async ({ signal }) => {
    signals.push(signal);
    return { ...OK, body: lines };
  };
  await serving(answer, async (url) => {
    const response = await open(`${url}/api/v1/x`);
    lines.push("one\n");
    assert.equal(String((await once(response, "data"))[0]), "one\n");
    lines.push("two\n");
    assert.equal(String((await once(response, "data"))[0]), "two\n");
    response.destroy();
    if (!lines.closed) await new Promise((resolve) => lines.once("close", resolve));
    assert.equal(signals[0]?.aborted, true);
  });
});

test("a body that breaks breaks the answer off", async () => {
  await serving(
    async () => {
      const body = new Readable({ read() {} });
      body.push("part");
      setImmediate(() => body.destroy(new Error("disk")));
      return { ...OK, headers: { "Content-Length": 100 }, body };
    },
    async (url) => {
      const answer = await get(`${url}/api/v1/x`);
      assert.equal(answer.complete, false);
    },
  );
});

test("whoever uploads what is not wanted gets to see why, and the connection ends", async () => {
  const refusal = JSON.stringify({ error: { kind: "invalid", message: "no" } });
  await serving(
    async () => ({ status: 400, headers: { "Content-Length": refusal.length }, body: refusal }),
    async (url) => {
      const answer = await get(`${url}/api/v1/x`, { method: "POST", body: Buffer.alloc(8 * 1024 * 1024) });
      assert.equal(answer.status, 400);
      assert.equal(answer.body.toString(), refusal);
      assert.equal(answer.headers.connection, "close");
    },
  );
});

test("whoever waits for a go-ahead before the body is given it once", async () => {
  await serving(
    async ({ body }) => {
      let bytes = 0;
      for await (const chunk of body) bytes += chunk.length;
      return { ...OK, body: String(bytes) };
    },
    async (url) => {
      const send = () =>
        new Promise<string>((resolve, reject) => {
          const request = httpRequest(`${url}/api/v1/x`, {
            method: "POST",
            headers: { Expect: "100-continue" },
          });
          let went = "";
          request.on("continue", () => {
            went = "100 ";
            request.end("12345");
          });
          request.on("response", (response) => {
            response.resume();
            request.destroy();
            resolve(`${went}${response.statusCode}`);
          });
          request.on("error", (error) => (request.destroyed ? undefined : reject(error)));
          request.flushHeaders();
        });
      assert.equal(await send(), "100 200");
    },
  );
});

test("names that are configured are ours; requests without a host, or with two, are not", async () => {
  await serving(
    async () => ({ ...OK, body: "{}" }),
    async (url) => {
      const status = async (head: string) =>
        (await sendRaw(url, `GET /api/v1/x HTTP/1.1\r\n${head}Connection: close\r\n\r\n`)).slice(9, 12);
      assert.equal(await status("Host: ADMIN.example:1\r\n"), "200");
      assert.equal(await status("Host: other.example\r\n"), "421");
      assert.equal(await status(""), "400");
      assert.match(await sendRaw(url, "GET /api/v1/x HTTP/1.0\r\n\r\n"), /^HTTP\/1.1 421/);
    },
  );
});

test("a stop breaks off an upload that never ends", async () => {
  let ended: Promise<unknown> | undefined;
  await serving(
    async ({ body }) => {
      ended = body.toArray().catch(() => {});
      await ended;
      return { ...OK, body: "{}" };
    },
    async (url) => {
      const socket = connect(Number(new URL(url).port), "127.0.0.1");
      socket.on("error", () => {});
      socket.write("POST /api/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\nx");
      while (ended === undefined) await new Promise((resolve) => setImmediate(resolve));
    },
  );
  await ended;
});
