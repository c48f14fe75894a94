/** What an upstream quotes of ours, in whatever form, does not come back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Secrets } from "../../../src/upstream/auth/secrets.ts";
import { app, ask, latest, never, play } from "../scene.ts";

const PASSWORD = 'p&s"w<rd>é/+!~(7)';
const goJson = (text: string) =>
  JSON.stringify(text).replace(/[&<>]/g, (one) => `\\u00${one.charCodeAt(0).toString(16)}`);

const FORMS: Readonly<Record<string, (secret: string) => string>> = {
  "as it is": (secret) => secret,
  "in a component of a URL": encodeURIComponent,
  "with percents in small letters": (secret) => encodeURIComponent(secret).replace(/%../g, (one) => one.toLowerCase()),
  "in a form": (secret) => new URLSearchParams({ secret }).toString(),
  "in a query, strictly": (secret) =>
    encodeURIComponent(secret).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16)}`),
  "in JSON": (secret) => JSON.stringify({ secret }),
  "in JSON as Go has it": goJson,
  "in base64": (secret) => Buffer.from(secret).toString("base64"),
  "in base64 without padding": (secret) => Buffer.from(secret).toString("base64").replace(/=+$/, ""),
  "in base64url": (secret) => Buffer.from(secret).toString("base64url"),
};

for (const [form, write] of Object.entries(FORMS)) {
  test(`a secret that is quoted ${form} is hidden, whether held, posted or sent`, () => {
    const held = new Secrets();
    held.noteHeld({ kind: "basic", username: "robot", password: PASSWORD });
    const posted = new Secrets();
    posted.noteForm(new URLSearchParams({ refresh_token: PASSWORD, scope: "pull" }));
    const sent = new Secrets();
    sent.note(`Bearer ${PASSWORD}`);
    const quoted = write(PASSWORD);
    for (const secrets of [held, posted, sent]) {
      const hidden = secrets.hide(`before ${quoted} after, pull`);
      assert.match(hidden, /^before .{0,14}….{0,3} after, pull$/);
    }
    if (!form.includes("base64")) return;
    const pair = write(`robot:${PASSWORD}`);
    assert.doesNotMatch(held.hide(`pair ${pair}`), /cm9ib3/);
  });
}

test("whatever the secret is, it is not in what is left", () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 1, maxLength: 40 }),
      fc.constantFrom(...Object.values(FORMS)),
      (secret, write) => {
        fc.pre(secret.isWellFormed() && !secret.includes("…"));
        const secrets = new Secrets();
        secrets.noteHeld({ kind: "identity", token: secret });
        assert.ok(!secrets.hide(`x ${secret} y ${secret.length < 4 ? "" : write(secret)}`).includes(secret));
      },
    ),
  );
});

test("where a gap would tell the secret, the whole text is left out; a URL stays readable", () => {
  for (const password of ["al", "an", "registry", "Пароль"]) {
    const secrets = new Secrets();
    secrets.noteHeld({ kind: "basic", username: "robot", password });
    assert.equal(secrets.hide(`the ${password} is not good`), "");
    assert.equal(secrets.hide("n0t f0und"), "n0t f0und");
    assert.equal(secrets.hideInUrl(`https://${password}.example/token`), `https://${password}.example/token`);
  }
});

test("a secret that is longer than what is shown leaves no part of itself", () => {
  const token = Array.from({ length: 4000 }, (_, at) => at.toString(36)).join(".");
  const secrets = new Secrets();
  secrets.note(`Bearer ${token}`);
  assert.equal(secrets.hide(`bad token ${token} and more`), "bad token …");
  const cut = secrets.hide(`${"x".repeat(4000)}${token}`);
  assert.match(cut, /^x+…?$/);
});

test("an ordinary word as the password garbles neither our words nor a host's name", async (t) => {
  const registry = await play(t, (_request, response) => {
    const challenge = 'Bearer realm="https://registry.al.example/token",service="s"';
    response.writeHead(401, { "www-authenticate": challenge }).end();
  });
  const { upstream, said } = ask(t, registry.url, { credentials: [{ username: "robot", password: "al" }] });
  await assert.rejects(upstream.headManifest(app, latest, never), { kind: "refused" });
  const told = JSON.stringify(said);
  assert.match(told, /its realm belongs to another site/);
  assert.match(told, /https:\/\/registry\.al\.example\/token/);
});

test("nothing of what a token server says to a form is told", async (t) => {
  const registry = await play(t, (request, response, path) => {
    if (!path.startsWith("/token")) {
      const realm = `http://${request.headers.host}/token`;
      response.writeHead(401, { "www-authenticate": `Bearer realm="${realm}",service="s"` }).end();
    } else if (request.method === "GET") response.writeHead(404).end();
    else response.writeHead(500, { "content-type": "text/plain" }).end("h-u-n-t-e-r-2 is wrong");
  });
  const { upstream, said } = ask(t, registry.url, { credentials: [{ username: "robot", password: "hunter2" }] });
  await assert.rejects(upstream.headManifest(app, latest, never), (error) => {
    assert.match(String(error), /answered 500/);
    assert.doesNotMatch(String(error) + JSON.stringify(error) + JSON.stringify(said), /h-u-n/);
    return true;
  });
});
