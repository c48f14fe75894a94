/** Whole runs against scriptable upstreams and a mirror, on loopback: what is asked, what is counted, what stays open. */
import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import type { LoadOptions, Scenario } from "../../src/load/options.ts";
import { runLoad } from "../../src/load/run.ts";
import type { Tally } from "../../src/load/tally.ts";
import { makeImage } from "../kit/image.ts";
import { TestMirror } from "../kit/mirror.ts";
import { openResources, residueSince } from "../kit/residue.ts";
import { TestUpstream } from "../kit/upstream.ts";
import { loadOptions } from "./options.ts";
import { anError, IMAGE_BYTES, image, index, KINDS, LONG, runClean, stocked, twoPulls, until } from "./runs.ts";

for (const as of KINDS) {
  test(`a herd like ${as} pulls every blob once per client, and every byte is verified`, async () => {
    await using upstream = await stocked();
    const report = await runClean(
      loadOptions(upstream.url, { as, scenario: "herd", clients: 5, durationMs: undefined }),
    );
    assert.deepEqual(
      [report.verdict, report.totals.pulls, report.totals.errors],
      ["good", 5, 0],
      JSON.stringify(report),
    );
    assert.equal(report.totals.verifiedBlobs, 25);
    assert.ok(report.totals.bytes >= 5 * IMAGE_BYTES);
    for (const { digest } of [image.config, ...image.layers]) assert.equal(upstream.count({ reference: digest }), 5);
    assert.equal(upstream.count({ kind: "ping" }), as === "containerd" ? 0 : 5);
    assert.equal(upstream.count({ method: "GET", reference: "1" }), as === "podman" ? 5 : 0);
    assert.equal(
      upstream.count({ method: "HEAD", reference: "1" }),
      as === "podman" ? 1 : 6,
      "one to look whether it is there",
    );
    assert.equal(upstream.count({ method: "GET", reference: index.digest }), as === "podman" ? 0 : 5);
    assert.equal(upstream.count({ method: "GET", reference: image.digest }), 5);
    assert.equal(report.images[0]?.digest, image.digest);
    assert.equal(report.images[0]?.bytes, IMAGE_BYTES);
  });
}

test("a client has as many layers under way as its kind has", async () => {
  for (const [as, most] of [
    ["dockerd", 3],
    ["containerd", 3],
    ["podman", 6],
  ] as const) {
    await using upstream = await TestUpstream.start();
    const wide = makeImage({ layers: [1, 2, 3, 4, 5, 6, 7, 8].map((kb) => kb * 1000) });
    upstream.shelves.add("app", wide, "1");
    const layers = new Set<string | undefined>(wide.layers.map(({ digest }) => digest));
    const gate = upstream.gate(({ reference }) => layers.has(reference), "headers");
    const running = runLoad(loadOptions(upstream.url, { as, scenario: "herd", clients: 1, durationMs: undefined }));
    // containerd's configuration is one of its three, and is through before the third layer comes.
    await upstream.waitFor(({ reference }) => layers.has(reference), most);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(gate.arrivals, most, as);
    gate.release();
    assert.equal((await running).totals.pulls, 1);
  }
});

const SCENARIOS: readonly [Scenario, Partial<LoadOptions>, (tally: Tally) => boolean][] = [
  ["herd", { durationMs: undefined }, () => false],
  ["warm", {}, ({ pulls }) => pulls >= 3],
  ["mixed", { references: ["team/m0", "team/m1", "team/m2", "team/m3"] }, ({ pulls }) => pulls >= 8],
  ["manifests", {}, ({ requests }) => requests >= 20],
  ["ranges", {}, ({ pulls }) => pulls >= 2],
  ["slow", { clients: 10 }, ({ pulls, mostReading }) => pulls >= 1 && mostReading === 10],
];

for (const [scenario, more, enough] of SCENARIOS) {
  for (const as of KINDS) {
    test(`${scenario} as ${as} through a mirror is without error and leaves nothing open`, async () => {
      await using upstream = await stocked();
      await using mirror = await TestMirror.start({ upstreams: { "registry.example": upstream } });
      const named = (more.references ?? ["app:1"]).map((name) =>
        as === "dockerd" ? name : `registry.example/${name}`,
      );
      const report = await runLoad(
        loadOptions(mirror.url, { scenario, as, ...LONG, ...more, references: named }),
        until(enough),
      );
      assert.deepEqual(report.errors, []);
      assert.equal(report.verdict, "good", JSON.stringify(report.totals));
      assert.ok(report.totals.requests > 0);
      assert.ok((report.latencyMs.manifest?.count ?? 0) > 0);
      await mirror.settled();
    });
  }
}

test("mixed pulls the first reference most often, the same way for the same seed", async () => {
  await using upstream = await stocked();
  const references = ["team/m0", "team/m1", "team/m2", "team/m3"];
  await runClean(
    loadOptions(upstream.url, { scenario: "mixed", references, zipfExponent: 2, clients: 4, ...LONG }),
    until(({ pulls }) => pulls >= 60),
  );
  const counts = [0, 1, 2, 3].map((at) =>
    upstream.count({ kind: "manifest", method: "GET", repository: `team/m${at}` }),
  );
  assert.ok((counts[0] ?? 0) > (counts[1] ?? 0) && (counts[0] ?? 0) > (counts[3] ?? 0), String(counts));
});

test("ranges cover every layer: open-ended like containerd, closed like the others, and put together they are verified", async () => {
  for (const as of ["containerd", "podman"] as const) {
    await using upstream = await stocked();
    const report = await runClean(
      loadOptions(upstream.url, { as, scenario: "ranges", clients: 1, ...LONG }),
      twoPulls(),
    );
    assert.equal(report.verdict, "good", JSON.stringify(report.errors));
    assert.ok(report.totals.verifiedBlobs > 0);
    const asked = upstream.matching({ reference: image.layers[2]?.digest ?? "" }).map(({ headers }) => headers.range);
    assert.ok(asked.includes(as === "containerd" ? "bytes=65536-" : "bytes=65536-131071"), String(asked));
    assert.ok(asked.every((range) => range !== undefined));
  }
});

test("ranges that are ignored are told as bad answers", async () => {
  await using upstream = await stocked();
  upstream.fault({ ranged: true }, { ignoreRange: true });
  const report = await runClean(loadOptions(upstream.url, { scenario: "ranges", clients: 1, ...LONG }), anError());
  assert.equal(report.errors[0]?.kind, "bad answer");
});

test("slow readers read slowly, each over a connection of its own, while another pulls", async () => {
  await using upstream = await stocked();
  const baseline = openResources();
  const report = await runLoad(
    loadOptions(upstream.url, {
      scenario: "slow",
      clients: 30,
      durationMs: 3_000,
      bytesPerSecond: 10_000,
      timeoutMs: 1_500,
    }),
  );
  assert.deepEqual(report.errors, [], "waiting for ourselves is no timeout");
  assert.ok((report.latencyMs.pull?.count ?? 0) > 0);
  assert.ok(report.totals.pulls > 0);
  assert.equal(report.totals.slowReaders, 30);
  assert.deepEqual(await residueSince(baseline), []);
});

test("wrong bytes are an error of their own, with examples", async () => {
  await using upstream = await stocked();
  const layer = image.layers[2]?.digest ?? "";
  upstream.fault({ kind: "blob", reference: layer }, { flipAtByte: 1000 });
  const herd = loadOptions(upstream.url, { scenario: "herd", clients: 5, durationMs: undefined });
  const report = await runClean(herd);
  const [error] = report.errors;
  assert.deepEqual([error?.kind, error?.count, error?.examples.length], ["wrong digest", 5, 3]);
  assert.match(error?.examples[0] ?? "", new RegExp(layer));
  assert.deepEqual([report.verdict, report.totals.pulls], ["errors", 0]);
  const ranges = await runClean({ ...herd, scenario: "ranges", ...LONG, clients: 1 }, anError());
  assert.deepEqual(
    ranges.errors.map(({ kind }) => kind),
    ["wrong digest"],
  );
  const trusting = await runClean({ ...herd, verify: false });
  assert.deepEqual([trusting.verdict, trusting.totals.verifiedBlobs], ["good", 0]);
  assert.match(trusting.notes.join(), /not hashed/);
});

test("a manifest that is not what its digest says is a wrong digest", async () => {
  await using upstream = await stocked();
  upstream.fault({ kind: "manifest", method: "GET" }, { flipAtByte: 30 });
  const report = await runClean(loadOptions(upstream.url, { scenario: "herd", clients: 1, durationMs: undefined }));
  assert.equal(report.errors[0]?.kind, "wrong digest");
});

test("what goes wrong on the way has its kind", async () => {
  for (const [fault, kind] of [
    [{ stallAfterBytes: 1000 }, "timeout"],
    [{ cutAfterBytes: 1000 }, "short body"],
    [{ missingBytes: 10 }, "wrong digest"],
    [{ dropConnection: true }, "reset"],
    [{ status: 503 }, "status 503"],
    [{ status: 404 }, "status 404"],
    [{ redirect: { url: "http://127.0.0.1:1/" } }, "connect"],
  ] as const) {
    await using upstream = await stocked();
    upstream.fault({ kind: "blob", reference: image.layers[2]?.digest ?? "" }, fault);
    const options = { scenario: "herd", clients: 2, durationMs: undefined, timeoutMs: 2_000 } as const;
    const report = await runClean(loadOptions(upstream.url, options));
    assert.deepEqual(
      report.errors.map((error) => error.kind),
      [kind],
      JSON.stringify(report.errors),
    );
    assert.equal(report.errors[0]?.count, 2);
    assert.equal(report.verdict, "errors");
  }
});

test("a server that stops answering is a timeout, and the run ends all the same", async () => {
  await using upstream = await stocked();
  upstream.fault({ kind: "manifest", method: "GET" }, { stallAfterBytes: 0 });
  const report = await runClean(loadOptions(upstream.url, { timeoutMs: 500, ...LONG }), anError());
  assert.deepEqual(
    report.errors.map(({ kind }) => kind),
    ["timeout"],
  );
});

test("a server in trouble is not asked without a pause", async () => {
  await using upstream = await stocked();
  upstream.fault({ kind: "blob" }, { status: 429, retryAfter: "1" });
  await runClean(loadOptions(upstream.url, { clients: 1, durationMs: 600 }));
  // The warm-up, and one pull of the run: several blobs at once, and no second try within the second.
  assert.ok(upstream.count({ kind: "blob" }) <= 6, String(upstream.count({ kind: "blob" })));
});

test("a name of one component is looked for among Docker Hub's own as well", async () => {
  await using upstream = await stocked();
  const report = await runClean(loadOptions(upstream.url, { references: ["base"], ...LONG }), twoPulls());
  assert.equal(report.verdict, "good");
  assert.ok(upstream.count({ repository: "library/base", kind: "blob" }) > 0);
});

test("a run that is told to stop reports what it has", async () => {
  await using upstream = await stocked();
  const stop = new AbortController();
  let ticks = 0;
  const onTick = () => {
    ticks += 1;
    if (ticks === 3) stop.abort();
  };
  const report = await runClean(loadOptions(upstream.url, { durationMs: 600_000 }), {
    stop: stop.signal,
    onTick,
    tickMs: 50,
  });
  assert.equal(report.ended, "interrupted");
  assert.ok(report.totals.pulls > 0);
  assert.deepEqual(report.errors, [], "what was cut off by us is no error");
});

test("answers that are encoded on their way are decoded before they are verified", async () => {
  const { gzipSync } = await import("node:zlib");
  await using upstream = await stocked();
  const layer = [...image.blobs].find(([digest]) => digest === image.layers[1]?.digest)?.[1] ?? Buffer.alloc(0);
  upstream.fault(
    { reference: image.layers[1]?.digest ?? "" },
    { status: 200, body: gzipSync(layer), headers: { "content-encoding": "gzip" } },
  );
  const report = await runClean(loadOptions(upstream.url, { scenario: "herd", clients: 1, durationMs: undefined }));
  assert.deepEqual(report.errors, []);
});

test("a server that closes the connections it had kept open is asked again over a new one", async () => {
  await using upstream = await stocked();
  const used = new WeakSet<object>();
  let resets = 0;
  const server = createServer(async (request, response) => {
    if (used.has(request.socket)) {
      resets += 1;
      request.socket.resetAndDestroy();
      return;
    }
    used.add(request.socket);
    const answer = await fetch(`${upstream.url}${request.url}`, { method: request.method ?? "GET" });
    const headers = ["docker-content-digest", "content-type"].map((name) => [name, answer.headers.get(name) ?? ""]);
    response.writeHead(answer.status, Object.fromEntries(headers));
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const report = await runLoad(loadOptions(url, { scenario: "herd", clients: 2, durationMs: undefined }));
    assert.deepEqual(report.errors, []);
    assert.equal(report.totals.pulls, 2);
    assert.ok(resets > 0);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});
