/** Tags: what each named when its upstream was last asked. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseTag } from "../../src/oci/reference.ts";
import { digest, openRooms, place, withRooms } from "./rooms.ts";

const alpine = place("docker.io", "library/alpine");
const latest = parseTag("latest");

test("a tag that was never seen is not there, nor in a repository that was never seen", () =>
  withRooms(({ tags }) => {
    assert.equal(tags.find(alpine, latest), undefined);
    tags.put(alpine, latest, digest("a"), 1);
    assert.equal(tags.find(alpine, parseTag("other")), undefined);
    assert.deepEqual(tags.namesOf(place("docker.io", "never/seen")), []);
  }));

test("a tag keeps the last digest that it was seen to name, and when", () =>
  withRooms(({ tags }) => {
    tags.put(alpine, latest, digest("a"), 1000);
    assert.deepEqual(tags.find(alpine, latest), { digest: digest("a"), checkedAt: 1000 });
    tags.put(alpine, latest, digest("b"), 1_767_225_600_123);
    assert.deepEqual(tags.find(alpine, latest), { digest: digest("b"), checkedAt: 1_767_225_600_123 });
    assert.deepEqual(tags.namesOf(alpine), ["latest"]);
  }));

test("tags of one name in other repositories and on other upstreams are other tags", () =>
  withRooms(({ tags }) => {
    tags.put(alpine, latest, digest("a"), 1);
    tags.put(place("ghcr.io", "library/alpine"), latest, digest("b"), 2);
    tags.put(place("docker.io", "library/debian"), latest, digest("c"), 3);
    assert.equal(tags.find(alpine, latest)?.digest, digest("a"));
    assert.equal(tags.find(place("ghcr.io", "library/alpine"), latest)?.digest, digest("b"));
    assert.equal(tags.find(place("docker.io", "library/debian"), latest)?.digest, digest("c"));
  }));

test("tags that differ in case only are two, and names come in lexical order", () =>
  withRooms(({ tags }) => {
    for (const name of ["b", "B", "a", "_", "10", "9"]) tags.put(alpine, parseTag(name), digest(name), 1);
    assert.deepEqual(tags.namesOf(alpine), ["10", "9", "B", "_", "a", "b"]);
    assert.equal(tags.find(alpine, parseTag("B"))?.digest, digest("B"));
    assert.equal(tags.find(alpine, parseTag("b"))?.digest, digest("b"));
  }));

test("tags outlive the process", () =>
  withRooms((rooms, directory) => {
    rooms.tags.put(alpine, latest, digest("a"), 42);
    rooms.database.close();
    const again = openRooms(directory);
    assert.deepEqual(again.tags.find(alpine, latest), { digest: digest("a"), checkedAt: 42 });
    again.database.close();
  }));

test("repositories that something is cached of are listed, the others not", () =>
  withRooms(({ tags, graph, repositories }) => {
    assert.deepEqual(repositories.list(), []);
    repositories.idOf(place("docker.io", "only/named"));
    tags.put(alpine, latest, digest("a"), 1);
    graph.link(place("ghcr.io", "owner/app"), [{ digest: digest("b"), sizeBytes: 1, confirmed: true }]);
    const names = repositories.list().map((entry) => `${entry.upstream}/${entry.repository}`);
    assert.deepEqual(names.sort(), ["docker.io/library/alpine", "ghcr.io/owner/app"]);
  }));
