/** One GET for each place and digest, whoever wants it; a refresh's "not now" is told to nobody who has nothing else. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure, isFailure } from "../../src/base/failure.ts";
import { Fetches } from "../../src/mirror/fetches.ts";
import { Pledges } from "../../src/mirror/pledges.ts";
import type { Route } from "../../src/mirror/route.ts";
import { isAbsence, type ManifestBody } from "../../src/upstream/upstream.ts";
import type { Urgency } from "../../src/upstream/urgency.ts";
import { ManualClock } from "../kit/clock.ts";
import { makeImage } from "../kit/image.ts";
import { routeOf } from "./parts.ts";

const image = makeImage({ seed: 1 });

function scene() {
  const clock = new ManualClock();
  const asked: { readonly urgency: Urgency; readonly answer: PromiseWithResolvers<ManifestBody> }[] = [];
  const fetches = new Fetches({
    shelf: {
      keep: async (_place, { bytes }, digest) => ({
        manifest: { digest: digest ?? image.digest, mediaType: "", bytes },
        kept: true,
      }),
    },
    absences: { remember() {} },
    pledges: new Pledges(clock),
    clock,
    signal: new AbortController().signal,
  });
  const ask = (urgency: Urgency, route: Route = routeOf()) => {
    const getManifest = (_repository: unknown, _reference: unknown, _signal: unknown, urgency: Urgency = "miss") => {
      const answer = Promise.withResolvers<ManifestBody>();
      asked.push({ urgency, answer });
      return answer.promise;
    };
    const upstream = { ...route.source.upstream, getManifest };
    return fetches.fetch({ ...route, source: { ...route.source, upstream } }, image.digest, urgency);
  };
  return { asked, ask };
}

const body: ManifestBody = { bytes: image.manifest, mediaType: undefined, digest: image.digest };
const joinedOf = (answer: Awaited<ReturnType<Fetches["fetch"]>>) => !isAbsence(answer) && answer.joined === true;

test("a client, a refresh and a renewal of one digest share one GET, and other repositories have their own", async () => {
  const { asked, ask } = scene();
  const answers = [ask("refresh"), ask("miss"), ask("refresh"), ask("miss", routeOf("docker.io", "library/debian"))];
  assert.equal(asked.length, 2);
  for (const { answer } of asked) answer.resolve(body);
  assert.deepEqual((await Promise.all(answers)).map(joinedOf), [false, true, true, false]);
});

test("what a refresh was refused by our own limits, a miss that joined it asks for itself", async () => {
  for (const kind of ["limited", "overloaded", "unreachable"] as const) {
    const { asked, ask } = scene();
    const refresh = ask("refresh");
    const misses = [ask("miss"), ask("miss")];
    asked[0]?.answer.reject(new Failure(kind, "not now"));
    await assert.rejects(refresh, (error) => isFailure(error, kind));
    await new Promise(setImmediate);
    assert.deepEqual(
      asked.map(({ urgency }) => urgency),
      ["refresh", "miss"],
    );
    asked[1]?.answer.resolve(body);
    assert.equal((await Promise.all(misses)).length, 2);
  }
});

test("what the upstream itself said, or did not say in time, is the answer to everyone", async () => {
  for (const how of [{ upstreamStatus: 429 }, { timedOut: true }]) {
    const { asked, ask } = scene();
    const both = [ask("refresh"), ask("miss")];
    asked[0]?.answer.reject(new Failure("limited", "no", how));
    for (const outcome of await Promise.allSettled(both)) assert.equal(outcome.status, "rejected");
    assert.equal(asked.length, 1);
  }
});
