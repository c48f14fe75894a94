import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { type FailedAttempt, isOfEndpoint, planRetry } from "../../../src/upstream/endpoints/retry.ts";
import { AddressRefused } from "../../../src/upstream/network/addresses.ts";

const coded = (code: string) => Object.assign(new Error(code), { code });
const reset = new Failure("unreachable", "closed", { cause: coded("ECONNRESET") });
const status = (upstreamStatus: number, more = {}) => new Failure("unreachable", "no", { upstreamStatus, ...more });

const plan = (failure: Failure, more: Partial<FailedAttempt> = {}) =>
  planRetry({ failure, attempts: 1, leftMs: 20_000, urgency: "miss", elsewhere: false, random: 0.5, ...more });

test("what passes is asked again, later each time, four times in all", () => {
  for (const failure of [reset, ...[408, 500, 502, 503, 504].map((one) => status(one))]) {
    const delays = [1, 2, 3, 4].map((attempts) => plan(failure, { attempts }));
    assert.deepEqual(delays, [100, 300, 900, undefined]);
  }
});

test("delays differ from mirror to mirror", () => {
  assert.equal(plan(reset, { random: 0 }), 50);
  assert.ok((plan(reset, { random: 0.999 }) ?? 0) > 149);
});

test("a refresh is asked again only where another endpoint can be", () => {
  assert.equal(plan(reset, { urgency: "refresh" }), undefined);
  assert.equal(plan(reset, { urgency: "refresh", elsewhere: true }), 0);
});

test("what lasts is not asked again", () => {
  const lasting = [
    new Failure("corrupt", "no"),
    new Failure("refused", "no"),
    status(400),
    status(501),
    ...["ENOTFOUND", "CERT_HAS_EXPIRED", "ERR_TLS_CERT_ALTNAME_INVALID", "EPROTO", "HPE_INVALID_CONSTANT"].map(
      (code) => new Failure("unreachable", "no", { cause: coded(code) }),
    ),
    new Failure("unreachable", "no", { cause: new AddressRefused("no") }),
  ];
  for (const failure of lasting) assert.equal(plan(failure), undefined, failure.message);
});

test("another endpoint is asked at once, also about what lasts at the first", () => {
  assert.equal(plan(reset, { elsewhere: true }), 0);
  assert.equal(plan(new Failure("unreachable", "no", { cause: coded("ENOTFOUND") }), { elsewhere: true }), 0);
  assert.equal(plan(new Failure("unreachable", "slow", { timedOut: true }), { elsewhere: true }), 0);
  assert.equal(plan(new Failure("refused", "no"), { elsewhere: true }), undefined);
});

test("nothing is asked again that would come too late", () => {
  assert.equal(plan(reset, { leftMs: 90 }), undefined);
  assert.equal(plan(new Failure("unreachable", "slow", { timedOut: true })), undefined);
});

test("a wait that the upstream asks for is kept where it is short", () => {
  const limited = (retryAfterMs?: number) =>
    new Failure("limited", "no", retryAfterMs === undefined ? {} : { retryAfterMs });
  assert.equal(plan(limited(1.16)), 51.16);
  assert.equal(plan(limited(1000), { attempts: 2 }), 1100);
  assert.equal(plan(limited(60_000)), undefined);
  assert.equal(plan(limited()), undefined);
  assert.equal(plan(limited(60_000), { elsewhere: true }), 0, "another endpoint counts for itself");
  assert.equal(plan(status(503, { retryAfterMs: 1500 })), 1500);
  assert.equal(plan(status(503, { retryAfterMs: 60_000 })), undefined);
});

test("an endpoint is down where it does not answer, or says that it serves nobody", () => {
  for (const failure of [reset, status(502), status(503), status(504)]) assert.equal(isOfEndpoint(failure), true);
  for (const failure of [status(500), status(404), new Failure("limited", "no")]) {
    assert.equal(isOfEndpoint(failure), false);
  }
});
