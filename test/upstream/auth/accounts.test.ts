import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../../src/base/failure.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { type Candidate, chooseAccount, eligible } from "../../../src/upstream/auth/accounts.ts";

const refusal = new Failure("refused", "wrong password");
const one = (account: string, more: Partial<Candidate> = {}): Candidate => ({
  account,
  repositories: ["**"],
  findTrouble: () => undefined,
  waitMs: () => 0,
  left: undefined,
  ...more,
});
const names = (accounts: readonly Candidate[]) => accounts.map(({ account }) => account);
const repository = parseRepository("team/app");

test("accounts that are mapped to a repository go before those for everything", () => {
  const all = [one("all"), one("team", { repositories: ["team/**"] }), one("other", { repositories: ["other/*"] })];
  assert.deepEqual(names(eligible(all, repository)), ["team"]);
  assert.deepEqual(names(eligible(all, parseRepository("library/alpine"))), ["all"]);
  assert.deepEqual(names(eligible(all.slice(1), parseRepository("library/alpine"))), [], "anonymous");
});

test("of several, the one that has most left is shown, the first of equals", () => {
  const choose = (...accounts: Candidate[]) => chooseAccount("reg.test", accounts).account;
  assert.equal(choose(one("a", { left: 10 }), one("b", { left: 90 }), one("c", { left: 50 })), "b");
  assert.equal(choose(one("a", { left: 10 }), one("b")), "b", "no limit known is the most");
  assert.equal(choose(one("a"), one("b")), "a");
});

test("who is refused or has to wait is passed over", () => {
  const refused = one("refused", { findTrouble: () => refusal });
  const waiting = one("waiting", { waitMs: () => 5000 });
  assert.equal(chooseAccount("reg.test", [refused, waiting, one("well", { left: 1 })]).account, "well");
  assert.throws(() => chooseAccount("reg.test", [refused, waiting, one("later", { waitMs: () => 9000 })]), {
    kind: "limited",
    retryAfterMs: 5000,
    message: "reg.test allows waiting no more requests for now (nor any other of 3 accounts)",
  });
});

test("where all are refused the first of them is chosen, unless it has to wait", () => {
  const refused = (account: string, waitMs = 0) => one(account, { findTrouble: () => refusal, waitMs: () => waitMs });
  assert.equal(chooseAccount("reg.test", [refused("a"), refused("b")]).account, "a");
  assert.throws(() => chooseAccount("reg.test", [refused("a", 5000)]), { kind: "refused" });
});
