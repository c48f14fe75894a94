/** What tokens are asked for: to read, whatever is offered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRepository } from "../../../src/oci/reference.ts";
import { readOnly, scopesFor } from "../../../src/upstream/auth/scopes.ts";

const app = parseRepository("team/app");

test("a scope that a challenge names for us is taken as it is, reduced to reading", () => {
  const asked = (...scopes: string[]) => scopesFor(scopes, app, true);
  assert.deepEqual(asked("repository:team/app:pull"), ["repository:team/app:pull"]);
  assert.deepEqual(asked("repository:team/app:pull,push,delete"), ["repository:team/app:pull"]);
  assert.deepEqual(asked("repository:team/app:*"), ["repository:team/app:pull"]);
  assert.deepEqual(asked("repository(plugin):team/app:push,pull"), ["repository(plugin):team/app:pull"]);
  assert.deepEqual(asked("repository:host:5000/app:metadata_read"), ["repository:host:5000/app:metadata_read"]);
  assert.deepEqual(asked("repository:a:pull,push", "repository:a:pull"), ["repository:a:pull"]);
  assert.deepEqual(asked("something else"), ["something else"]);
  assert.deepEqual(readOnly(["repository:a:delete"]), ["repository:a:pull"]);
});

test("another repository's scope becomes ours, and none becomes the usual one", () => {
  assert.deepEqual(scopesFor(["repository:other:pull,push"], app, false), ["repository:team/app:pull"]);
  assert.deepEqual(scopesFor([], app, true), ["repository:team/app:pull"]);
});
