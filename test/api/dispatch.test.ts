/** From a request to an operation and its answer: input, failures, events, streams, and their ends. */
import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { type ApiEvent, eventOperation, jsonOperation, streamOperation } from "../../src/api/operation.ts";
import { queryFlag, queryList, queryNumber } from "../../src/api/query.ts";
import { Failure } from "../../src/base/failure.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { eventsOf, jsonOf, stage, textOf } from "./stage.ts";

const ECHO = jsonOperation({
  method: "GET",
  path: "/api/v1/echo",
  summary: "Says what it was given",
  input: z.strictObject({
    name: z.string(),
    limit: queryNumber("How many", 10, { most: 100 }),
    all: queryFlag("All"),
    of: queryList("Some"),
  }),
  answers: "json",
  output: z.looseObject({}),
  run: (input) => ({ ...input }),
});

const MAKE = jsonOperation({
  method: "POST",
  path: "/api/v1/make",
  summary: "Makes it",
  input: z.strictObject({ count: z.int().min(1), words: z.array(z.string()).default([]) }),
  answers: "json",
  output: z.looseObject({}),
  run: (input) => input,
});

function events(run: (signal: AbortSignal) => AsyncIterable<ApiEvent>) {
  return eventOperation({
    method: "POST",
    path: "/api/v1/long",
    summary: "Takes long",
    input: z.object({}),
    answers: "events",
    run: (_input, { signal }) => run(signal),
  });
}

test("a query becomes input: text, numbers, flags, lists, and defaults", async () => {
  const { ask } = stage(ECHO);
  const answer = await ask("GET", "/api/v1/echo", { query: "name=a&limit=5&all=true&of=x&of=y" });
  assert.equal(answer.status, 200);
  assert.deepEqual(await jsonOf(answer), { name: "a", limit: 5, all: true, of: ["x", "y"] });
  const defaults = await ask("GET", "/api/v1/echo", { query: "name=a&of=x" });
  assert.deepEqual(await jsonOf(defaults), { name: "a", limit: 10, all: false, of: ["x"] });
});

test("malformed input is 400, and every fault of it is told", async () => {
  const { ask } = stage(ECHO, MAKE);
  const answer = await ask("GET", "/api/v1/echo", { query: "limit=1000&all=perhaps&odd=1" });
  assert.equal(answer.status, 400);
  const { error } = (await jsonOf(answer)) as { error: { kind: string; faults: { path: string }[] } };
  assert.equal(error.kind, "invalid");
  assert.deepEqual(error.faults.map(({ path }) => path).sort(), ["", "all", "limit", "name"]);
  for (const body of ["{", '"text"', '{"count":0}', '{"count":1,"__proto__":{"words":[]}}']) {
    assert.equal((await ask("POST", "/api/v1/make", { body })).status, 400, body);
  }
});

test("where nothing has to be said, no body is needed, nor a type of it", async () => {
  const input = z.strictObject({ count: z.int().default(7) });
  const run = ({ count }: z.output<typeof input>) => ({ count });
  const { ask } = stage(
    jsonOperation({
      ...({ method: "POST", path: "/api/v1/any", summary: "", answers: "json", input, run } as const),
      output: z.object({ count: z.int() }),
    }),
  );
  const answer = await ask("POST", "/api/v1/any", { contentType: "" });
  assert.deepEqual([answer.status, await jsonOf(answer)], [200, { count: 7 }]);
  assert.equal((await ask("POST", "/api/v1/any", { contentType: "", body: "{}" })).status, 415);
});

test("a body must be JSON by its type, of UTF-8, and small", async () => {
  const { ask } = stage(MAKE);
  for (const contentType of ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
    const answer = await ask("POST", "/api/v1/make", { body: '{"count":1}', contentType });
    assert.equal(answer.status, 415, contentType);
  }
  const typed = await ask("POST", "/api/v1/make", {
    body: '{"count":1}',
    contentType: "Application/JSON; charset=utf-8",
  });
  assert.equal(typed.status, 200);
  const large = Readable.from(Array.from({ length: 10 }, () => Buffer.alloc(1024 * 1024, " ")));
  assert.equal((await ask("POST", "/api/v1/make", { body: large })).status, 413);
  large.destroy();
  const binary = Readable.from([Buffer.from([0x7b, 0xff, 0xfe])]);
  assert.equal((await ask("POST", "/api/v1/make", { body: binary })).status, 400);
  const broken = new Readable({ read: () => {} });
  setImmediate(() => broken.destroy(new Error("reset")));
  assert.equal((await ask("POST", "/api/v1/make", { body: broken })).status, 400);
});

test("what is not there is 404, another method 405 with Allow, OPTIONS says what there is, HEAD goes as GET", async () => {
  const { ask } = stage(ECHO);
  assert.equal((await ask("GET", "/api/v1/nothing")).status, 404);
  const refused = await ask("DELETE", "/api/v1/echo");
  assert.equal(refused.status, 405);
  assert.equal(refused.headers["Allow"], "GET, HEAD, OPTIONS");
  const options = await ask("OPTIONS", "/api/v1/echo");
  assert.equal(options.status, 204);
  assert.equal(options.headers["Allow"], "GET, HEAD, OPTIONS");
  assert.equal((await ask("HEAD", "/api/v1/echo", { query: "name=a" })).status, 200);
});

test("a failure's kind is the status and is told; a bug tells nothing, and is handed to whoever looks after them", async () => {
  const failing = (path: `/api/v1/${string}`, error: Error) =>
    jsonOperation({
      method: "GET",
      path,
      summary: "Fails",
      input: z.object({}),
      answers: "json",
      output: z.object({}),
      run: () => Promise.reject(error),
    });
  const { ask, bugs } = stage(
    failing("/api/v1/unknown", new Failure("unknown", "no such image")),
    failing("/api/v1/bug", new TypeError("secret")),
  );
  const unknown = await ask("GET", "/api/v1/unknown");
  assert.equal(unknown.status, 404);
  assert.deepEqual(await jsonOf(unknown), { error: { kind: "unknown", message: "no such image" } });
  const bug = await ask("GET", "/api/v1/bug");
  assert.equal(bug.status, 500);
  assert.doesNotMatch(await textOf(bug), /secret/);
  assert.match(String(bugs), /secret/);
});

test("events come line by line as they happen, and `done` is last", async () => {
  const gate = Promise.withResolvers<void>();
  const { ask } = stage(
    events(async function* () {
      yield { event: "progress", bytes: 1 };
      await gate.promise;
      yield { event: "done", result: { bytes: 2 } };
      yield { event: "progress", bytes: 3 };
    }),
  );
  const answer = await ask("POST", "/api/v1/long");
  assert.equal(answer.headers["Content-Type"], "application/x-ndjson");
  assert.ok(answer.body instanceof Readable);
  const lines = answer.body[Symbol.asyncIterator]();
  assert.equal(String((await lines.next()).value), '{"event":"progress","bytes":1}\n');
  gate.resolve();
  assert.equal(String((await lines.next()).value), '{"event":"done","result":{"bytes":2}}\n');
  assert.equal((await lines.next()).done, true);
});

test("an operation that fails at once answers with a status; later, with `failed` as its last line", async () => {
  const early = stage(
    // biome-ignore lint/correctness/useYield: it fails before
    events(async function* () {
      throw new Failure("invalid", "no");
    }),
  );
  assert.equal((await early.ask("POST", "/api/v1/long")).status, 400);
  const late = stage(
    events(async function* () {
      yield { event: "progress" };
      throw new Failure("storage", "disk full");
    }),
  );
  const told = await eventsOf(await late.ask("POST", "/api/v1/long"));
  assert.deepEqual(told.at(-1), { event: "failed", kind: "storage", message: "disk full" });
  const endless = stage(
    events(async function* () {
      yield { event: "progress" };
    }),
  );
  const cut = await eventsOf(await endless.ask("POST", "/api/v1/long"));
  assert.equal(cut.at(-1)?.["kind"], "bug", "one that never says it is done has not done it");
  assert.equal(endless.bugs.length, 1);
});

test("whoever leaves ends what was asked for, and nothing stays behind", async () => {
  const baseline = openResources();
  const ended = Promise.withResolvers<string>();
  const { api, ask, stop } = stage(
    events(async function* (signal) {
      try {
        yield { event: "progress" };
        await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      } finally {
        ended.resolve(signal.aborted ? "aborted" : "left");
      }
    }),
  );
  const { body } = await ask("POST", "/api/v1/long");
  assert.ok(body instanceof Readable);
  await body[Symbol.asyncIterator]().next();
  body.destroy();
  assert.equal(await ended.promise, "aborted");
  stop(new Failure("overloaded", "stopping"));
  await api.settled();
  assert.deepEqual(await residueSince(baseline), []);
});

test("when the mirror stops, long work is told so and ends, and new work is refused", async () => {
  const { api, ask, stop } = stage(
    ECHO,
    events(async function* (signal) {
      yield { event: "progress" };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    }),
  );
  const answer = await ask("POST", "/api/v1/long");
  const told = eventsOf(answer);
  await sleep(5);
  stop(new Failure("overloaded", "the mirror is shutting down"));
  assert.deepEqual((await told).at(-1), {
    event: "failed",
    kind: "overloaded",
    message: "the mirror is shutting down",
  });
  await api.settled();
  assert.equal((await ask("GET", "/api/v1/echo", { query: "name=a" })).status, 503);
});

test("only so much long work runs at a time; what ends makes room", async () => {
  const { ask } = stage(
    ECHO,
    events(async function* (signal) {
      yield { event: "progress" };
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    }),
  );
  const running: Readable[] = [];
  for (let at = 0; at < 16; at++) {
    const { status, body } = await ask("POST", "/api/v1/long");
    assert.equal(status, 200);
    if (body instanceof Readable) running.push(body);
  }
  const refused = await ask("POST", "/api/v1/long");
  assert.equal(refused.status, 503);
  assert.ok(refused.headers["Retry-After"] !== undefined);
  assert.equal(
    (await ask("GET", "/api/v1/echo", { query: "name=a" })).status,
    200,
    "what is short is not kept waiting",
  );
  running.pop()?.destroy();
  for (let turns = 0; turns < 100; turns++) {
    await sleep(1);
    const again = await ask("POST", "/api/v1/long");
    if (again.status !== 200) continue;
    if (again.body instanceof Readable) running.push(again.body);
    break;
  }
  assert.equal(running.length, 16);
  for (const body of running) body.destroy();
});

test("a stream is announced with its length, and ends the work when it is given up", async () => {
  const signals: AbortSignal[] = [];
  const { ask } = stage(
    streamOperation({
      method: "POST",
      path: "/api/v1/bytes",
      summary: "Bytes",
      input: z.object({}),
      answers: "stream",
      run: async (_input, { signal }) => {
        signals.push(signal);
        const body = Readable.from([Buffer.from("abc"), Buffer.from("def")]);
        return { contentType: "application/x-tar", lengthBytes: 6, body };
      },
    }),
  );
  const answer = await ask("POST", "/api/v1/bytes");
  assert.equal(answer.headers["Content-Length"], 6);
  assert.equal(answer.headers["Content-Type"], "application/x-tar");
  assert.equal(await textOf(answer), "abcdef");
  const second = await ask("POST", "/api/v1/bytes");
  assert.ok(second.body instanceof Readable);
  second.body.destroy();
  await sleep(5);
  assert.equal(signals[1]?.aborted, true);
});

test("a streamed body has a type of its own, and its input in the query", async () => {
  const { ask } = stage(
    eventOperation({
      method: "POST",
      path: "/api/v1/intake",
      summary: "Takes bytes",
      input: z.object({ name: z.string() }),
      answers: "events",
      takesStream: true,
      async *run({ name }, { body }) {
        let bytes = 0;
        for await (const chunk of body ?? []) bytes += chunk.length;
        yield { event: "done", result: { name, bytes } };
      },
    }),
  );
  const options = { query: "name=a", body: Readable.from([Buffer.alloc(10), Buffer.alloc(5)]) };
  const answer = await ask("POST", "/api/v1/intake", { ...options, contentType: "application/x-tar" });
  assert.deepEqual(await eventsOf(answer), [{ event: "done", result: { name: "a", bytes: 15 } }]);
  for (const contentType of ["", "text/plain", "application/json"]) {
    assert.equal((await ask("POST", "/api/v1/intake", { query: "name=a", contentType })).status, 415, contentType);
  }
});

test("two operations of one name are a mistake that is found at once", () => {
  assert.throws(() => stage(ECHO, ECHO), /two operations: GET \/api\/v1\/echo/);
});

test("uploads that stand still keep nothing else out, nor do downloads that nobody reads", async () => {
  const hold = async (signal: AbortSignal) => {
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  };
  const upload = eventOperation({
    method: "POST",
    path: "/api/v1/upload",
    summary: "Holds",
    answers: "events",
    takesStream: true,
    input: z.object({}),
    async *run(_input, { signal }) {
      yield { event: "progress" };
      await hold(signal);
    },
  });
  const download = streamOperation({
    method: "POST",
    path: "/api/v1/download",
    summary: "Holds",
    answers: "stream",
    input: z.object({}),
    run: async () => ({ contentType: "x/y", lengthBytes: undefined, body: new Readable({ read() {} }) }),
  });
  const long = events(async function* () {
    yield { event: "done", result: {} };
  });
  const { api, ask, stop } = stage(upload, download, long);
  const bodies: Readable[] = [];
  for (const [path, contentType] of [
    ["/api/v1/upload", "application/x-tar"],
    ["/api/v1/download", "application/json"],
  ] as const) {
    let answer = await ask("POST", path, { contentType, body: "{}" });
    for (let asked = 1; asked < 50 && answer.status === 200; asked += 1) {
      if (typeof answer.body !== "string") bodies.push(answer.body);
      answer = await ask("POST", path, { contentType, body: "{}" });
    }
    assert.equal(answer.status, 503, path);
    assert.equal((await eventsOf(await ask("POST", "/api/v1/long"))).at(-1)?.["event"], "done", path);
  }
  assert.equal(bodies.length, 16);
  for (const body of bodies) body.on("error", () => {}).destroy();
  stop(new Failure("overloaded", "stopping"));
  await api.settled();
});
