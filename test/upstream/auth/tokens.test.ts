/**
 * Tokens over time: what a refusal costs, and for how long; and timers that are longer than Node's.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { systemClock } from "../../../src/base/clock.ts";
import { Failure, isFailure } from "../../../src/base/failure.ts";
import { parseToken } from "../../../src/upstream/auth/token.ts";
import { type Asker, Tokens } from "../../../src/upstream/auth/tokens.ts";
import { ManualClock } from "../../kit/clock.ts";

const never = new AbortController().signal;
const request = { realm: new URL("https://auth.example/token"), service: "s", scopes: ["repository:a:pull"] };

function refusing(failure: Failure) {
  const clock = new ManualClock();
  const tokens = new Tokens(clock);
  let asked = 0;
  const obtain = (scopes = request.scopes) =>
    tokens.obtain(
      { ...request, scopes },
      {
        ask: async () => {
          asked += 1;
          throw failure;
        },
      },
      never,
    );
  return { clock, obtain, asked: () => asked };
}

test("a refusal is remembered for ten seconds, for its scope alone", async () => {
  const { clock, obtain, asked } = refusing(new Failure("refused", "no"));
  for (let at = 0; at < 3; at++) await assert.rejects(obtain(), (error) => isFailure(error, "refused"));
  assert.equal(asked(), 1);
  await assert.rejects(obtain(["repository:b:pull"]));
  assert.equal(asked(), 2);
  clock.jump(10_000);
  await assert.rejects(obtain());
  assert.equal(asked(), 3);
});

test("a limit is remembered for as long as the token server says, and told with what is left of it", async () => {
  const { clock, obtain, asked } = refusing(new Failure("limited", "slow down", { retryAfterMs: 120_000 }));
  await assert.rejects(obtain());
  clock.jump(100_000);
  await assert.rejects(obtain(), (error) => isFailure(error, "limited") && error.retryAfterMs === 20_000);
  assert.equal(asked(), 1);
  clock.jump(20_000);
  await assert.rejects(obtain());
  assert.equal(asked(), 2);
});

test("a token server that fails is left alone for a moment, whatever is wanted of it", async () => {
  const { clock, obtain, asked } = refusing(new Failure("unreachable", "gone", { timedOut: true }));
  await assert.rejects(obtain());
  await assert.rejects(obtain(), (error) => isFailure(error, "unreachable") && error.timedOut);
  await assert.rejects(obtain(["repository:b:pull"]));
  assert.equal(asked(), 1);
  clock.jump(500);
  await assert.rejects(obtain());
  assert.equal(asked(), 2);
});

test("a token server that says for how long it fails is left alone so long, a minute at most", async () => {
  const { clock, obtain, asked } = refusing(new Failure("unreachable", "gone", { retryAfterMs: 3_600_000 }));
  await assert.rejects(obtain());
  clock.jump(59_999);
  await assert.rejects(obtain(), (error) => isFailure(error) && error.retryAfterMs === 1);
  assert.equal(asked(), 1);
  clock.jump(1);
  await assert.rejects(obtain());
  assert.equal(asked(), 2);
});

test("a denial is remembered as a refusal is, for its scope and credential alone", async () => {
  const clock = new ManualClock();
  const tokens = new Tokens(clock);
  let asked = 0;
  const ask = async () => {
    asked += 1;
    return { absent: "denied" } as const;
  };
  const obtain = (shown: string, scopes = request.scopes) =>
    tokens.obtain({ ...request, scopes }, { ask, shown }, never);
  for (let at = 0; at < 3; at++) assert.deepEqual(await obtain("a"), { absent: "denied" });
  assert.equal(asked, 1);
  await obtain("b");
  await obtain("a", ["repository:b:pull"]);
  assert.equal(asked, 3);
  clock.jump(10_000);
  await obtain("a");
  assert.equal(asked, 4);
});

test("a time limit of many days is not over at once", async () => {
  let isOver = false;
  const cancel = systemClock.after(60 * 86_400_000, () => {
    isOver = true;
  });
  await sleep(20);
  cancel();
  assert.equal(isOver, false);
});

/** A token server whose tokens are numbered and live for 100 s. */
function granting() {
  const clock = new ManualClock();
  const tokens = new Tokens(clock);
  const server = { asked: 0, fail: undefined as Failure | undefined, gate: Promise.resolve() };
  const ask: Asker["ask"] = async () => {
    server.asked += 1;
    const text = `token-${server.asked}`;
    await server.gate;
    if (server.fail !== undefined) throw server.fail;
    return parseToken(Buffer.from(JSON.stringify({ token: text, expires_in: 100 })), clock.now());
  };
  const obtain = async (more: Partial<typeof request> = {}, shown = "") => {
    const grant = await tokens.obtain({ ...request, ...more }, { ask, shown }, never);
    assert.ok("token" in grant);
    return grant.token.text;
  };
  return { clock, tokens, server, obtain };
}

/** Lets what runs behind come to its end. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

test("a token is renewed behind those who use it, and nobody waits", async () => {
  const { clock, server, obtain } = granting();
  assert.equal(await obtain(), "token-1");
  clock.jump(79_000);
  assert.equal(await obtain(), "token-1");
  assert.equal(server.asked, 1);
  clock.jump(2000);
  const { promise, resolve } = Promise.withResolvers<void>();
  server.gate = promise;
  assert.deepEqual(await Promise.all([obtain(), obtain(), obtain()]), ["token-1", "token-1", "token-1"]);
  assert.equal(server.asked, 2);
  resolve();
  await settle();
  assert.equal(await obtain(), "token-2");
  assert.equal(server.asked, 2);
});

test("a renewal that fails leaves the old token to its end, and is tried again after a while", async () => {
  for (const failure of [new Failure("unreachable", "gone"), new Failure("refused", "no")]) {
    const { clock, server, obtain } = granting();
    await obtain();
    server.fail = failure;
    clock.jump(81_000);
    for (let at = 0; at < 5; at++) {
      assert.equal(await obtain(), "token-1");
      await settle();
    }
    assert.equal(server.asked, 2);
    clock.jump(10_000);
    assert.equal(await obtain(), "token-1");
    await settle();
    assert.equal(server.asked, 3);
    clock.jump(9_000);
    await assert.rejects(obtain(), (error) => isFailure(error));
    server.fail = undefined;
    clock.jump(10_000);
    assert.match(await obtain(), /^token-\d$/);
  }
});

test("one request runs for all who wait, whatever the order of scopes; others have their own", async () => {
  const { server, obtain } = granting();
  const scopes = ["repository:a:pull", "repository:b:pull"];
  const [one, two] = await Promise.all([obtain({ scopes }), obtain({ scopes: scopes.toReversed() })]);
  assert.equal(one, two);
  assert.equal(server.asked, 1);
  await obtain({ service: "t" });
  await obtain({ realm: new URL("https://other.example/token") });
  assert.equal(server.asked, 3);
});

test("what was refused to one credential is asked for anew with another", async () => {
  const { server, obtain } = granting();
  server.fail = new Failure("refused", "no");
  await assert.rejects(obtain({}, "old"));
  await assert.rejects(obtain({}, "old"));
  assert.equal(server.asked, 1);
  server.fail = undefined;
  assert.equal(await obtain({}, "new"), "token-2");
});

test("of many repositories the tokens of the last thousand are kept", async () => {
  const { server, obtain } = granting();
  const scoped = (at: number) => obtain({ scopes: [`repository:r${at}:pull`] });
  for (let at = 0; at < 1001; at++) await scoped(at);
  await scoped(1000);
  assert.equal(server.asked, 1001);
  await scoped(0);
  assert.equal(server.asked, 1002);
});

test("a token's life is what is said of it, within bounds", () => {
  const now = Date.UTC(2026, 0, 1, 12);
  const lifeOf = (fields: object) => (parseToken(Buffer.from(JSON.stringify(fields)), now).expiresAt - now) / 1000;
  assert.equal(lifeOf({ token: "t", expires_in: 300 }), 300);
  assert.equal(lifeOf({ token: "t" }), 60, "the specification's default");
  assert.equal(lifeOf({ token: "t", expires_in: null }), 60);
  assert.equal(lifeOf({ token: "t", expires_in: 5 }), 60);
  assert.equal(lifeOf({ token: "t", expires_in: "300" }), 300);
  assert.equal(lifeOf({ token: "t", expires_in: 1e12 }), 86_400);
  for (const bad of ["soon", -1, {}, Number.MAX_VALUE * 2]) assert.ok(lifeOf({ token: "t", expires_in: bad }) >= 60);
  assert.equal(lifeOf({ access_token: "t", expires_in: 300 }), 300);
  assert.equal(lifeOf({ token: "", access_token: "t", expires_in: 300 }), 300);
});

test("a life counts from when the token was issued, where that can be", () => {
  const now = Date.UTC(2026, 0, 1, 12);
  const leftOf = (issued_at: unknown) =>
    (parseToken(Buffer.from(JSON.stringify({ token: "t", expires_in: 300, issued_at })), now).expiresAt - now) / 1000;
  assert.equal(leftOf("2026-01-01T11:59:00Z"), 240);
  for (const absurd of ["2026-01-01T12:10:00Z", "2020-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "yesterday", 17, null])
    assert.equal(leftOf(absurd), 300, String(absurd));
});

test("a life that is not said is read from the token where that is a JWT", () => {
  const now = Date.UTC(2026, 0, 1, 12);
  const jwt = (claims: unknown) =>
    ["{}", JSON.stringify(claims), "x"].map((part) => Buffer.from(part).toString("base64url")).join(".");
  const lifeOf = (token: string) =>
    (parseToken(Buffer.from(JSON.stringify({ access_token: token })), now).expiresAt - now) / 1000;
  assert.equal(lifeOf(jwt({ iat: 1000, exp: 5500 })), 4500);
  assert.equal(lifeOf(jwt({ iat: 0, exp: 1e15 })), 86_400);
  for (const odd of [jwt({ exp: 5500 }), jwt(null), jwt({ iat: 5, exp: 1 }), "a.b.c", "a.e30.c"])
    assert.equal(lifeOf(odd), 60, odd);
});

test("a clock that is set back ends a refusal", async () => {
  const { clock, obtain, asked } = refusing(new Failure("limited", "slow down", { retryAfterMs: 60_000 }));
  await assert.rejects(obtain());
  clock.jump(-3_600_000);
  await assert.rejects(obtain());
  assert.equal(asked(), 2);
});
