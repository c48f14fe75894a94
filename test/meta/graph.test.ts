/** Permission hangs on the upstream, the repository and the digest, and on nothing less. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digest, openRooms, place, withRooms } from "./rooms.ts";

const app = place("docker.io", "team/app");

test("a digest that was never linked is not reachable, in a known repository or an unknown one", () =>
  withRooms(({ graph }) => {
    assert.equal(graph.findReachable(app, digest("x")), undefined);
    graph.link(app, [{ digest: digest("a"), sizeBytes: 1, confirmed: true }]);
    assert.equal(graph.findReachable(app, digest("x")), undefined);
  }));

test("what was linked is reachable, with the size that its descriptor told", () =>
  withRooms(({ graph }) => {
    graph.link(app, [
      { digest: digest("a"), sizeBytes: 10, confirmed: true },
      { digest: digest("b"), sizeBytes: -1, confirmed: true },
      { digest: digest("c"), sizeBytes: 2 ** 40, confirmed: false },
    ]);
    assert.deepEqual(graph.findReachable(app, digest("a")), { digest: digest("a"), sizeBytes: 10, confirmed: true });
    assert.deepEqual(graph.findReachable(app, digest("b")), { digest: digest("b"), sizeBytes: -1, confirmed: true });
    assert.deepEqual(graph.findReachable(app, digest("c")), {
      digest: digest("c"),
      sizeBytes: 2 ** 40,
      confirmed: false,
    });
  }));

test("permission in one repository is none in another, nor on another upstream", () =>
  withRooms(({ graph }) => {
    graph.link(app, [{ digest: digest("secret"), sizeBytes: 1, confirmed: true }]);
    for (const other of [
      place("docker.io", "team/other"),
      place("ghcr.io", "team/app"),
      place("docker.io", "team"),
      place("docker.io", "team/app/sub"),
      place("docker.io", "team/app2"),
    ]) {
      graph.link(other, [{ digest: digest("own"), sizeBytes: 1, confirmed: true }]);
      assert.equal(graph.findReachable(other, digest("secret")), undefined);
    }
    assert.ok(graph.findReachable(app, digest("secret")));
  }));

test("a digest of the other algorithm with the same beginning is another digest", () =>
  withRooms(({ graph }) => {
    graph.link(app, [{ digest: digest("a"), sizeBytes: 1, confirmed: true }]);
    assert.equal(graph.findReachable(app, `${digest("a")}0` as ReturnType<typeof digest>), undefined);
  }));

test("permission outlives the process", () =>
  withRooms((rooms, directory) => {
    rooms.graph.link(app, [{ digest: digest("a"), sizeBytes: 5, confirmed: true }]);
    rooms.database.close();
    const again = openRooms(directory);
    assert.deepEqual(again.graph.findReachable(app, digest("a")), {
      digest: digest("a"),
      sizeBytes: 5,
      confirmed: true,
    });
    assert.equal(again.graph.findReachable(app, digest("b")), undefined);
    again.database.close();
  }));

test("a size told later fills in for one that nobody had told, and never replaces one", () =>
  withRooms(({ graph }) => {
    graph.link(app, [{ digest: digest("a"), sizeBytes: -1, confirmed: true }]);
    graph.link(app, [{ digest: digest("a"), sizeBytes: 10, confirmed: true }]);
    assert.equal(graph.findReachable(app, digest("a"))?.sizeBytes, 10);
    graph.link(app, [{ digest: digest("a"), sizeBytes: -1, confirmed: true }]);
    graph.link(app, [{ digest: digest("a"), sizeBytes: 99, confirmed: true }]);
    assert.equal(graph.findReachable(app, digest("a"))?.sizeBytes, 10);
  }));

test("links are recorded all or none", () =>
  withRooms(({ graph }) => {
    graph.link(app, []);
    assert.throws(() =>
      graph.link(
        app,
        (function* () {
          yield { digest: digest("a"), sizeBytes: 1, confirmed: true };
          throw new Error("half way");
        })(),
      ),
    );
    assert.equal(graph.findReachable(app, digest("a")), undefined);
  }));

test("a link that could not be recorded for a new repository opens no door to the next one", () =>
  withRooms(({ graph, repositories }) => {
    const failing = place("docker.io", "evil/new");
    const innocent = place("docker.io", "private/app");
    assert.throws(() =>
      graph.link(
        failing,
        (function* () {
          yield { digest: digest("a"), sizeBytes: 1, confirmed: true };
          throw new Error("the disk is full");
        })(),
      ),
    );
    graph.link(innocent, [{ digest: digest("secret"), sizeBytes: 1, confirmed: true }]);
    assert.equal(graph.findReachable(failing, digest("secret")), undefined);
    assert.notEqual(repositories.findId(failing), repositories.findId(innocent));
    // And the failed one is not lost for good.
    graph.link(failing, [{ digest: digest("b"), sizeBytes: 1, confirmed: true }]);
    assert.equal(graph.findReachable(innocent, digest("b")), undefined);
  }));
