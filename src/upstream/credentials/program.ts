/**
 * A credential helper: a program `docker-credential-<name>` that is asked `get`, reads the server's address and writes JSON.
 *
 * The protocol is that of docker/docker-credential-helpers (`client/client.go`, `credentials/error.go`). Programs print
 * their errors where the secrets go too, so nothing of what they write is ever shown.
 */
import { errnoOf, Failure } from "../../base/failure.ts";
import { accountName } from "./account.ts";
import type { Asking, CredentialSource, Held } from "./credential.ts";
import { type Lease, Renewed } from "./renewed.ts";
import type { CredentialSurroundings } from "./surroundings.ts";

export const PROGRAM_TIMEOUT_MS = 10_000;
export const MAX_PROGRAM_BYTES = 64 * 1024;
/** What programs give says nothing of how long it is good. Tokens of clouds are, for an hour at least. */
const RENEWED_MS = 5 * 60_000;
const KEPT_MS = 30 * 60_000;
/** Someone may log in. */
const NOTHING_KEPT_MS = 60_000;

const NOT_FOUND = "credentials not found in native keychain";
/** The user name that says that the secret is an identity token. */
const TOKEN_USER = "<token>";

export class ProgramCredential implements CredentialSource {
  readonly account: string;
  readonly #renewed: Renewed<{ readonly held: Held | undefined }>;
  #last: { readonly held: Held | undefined } | undefined;

  /**
   * @param name a checked one
   * @param server the address it is asked for
   */
  constructor(name: string, server: string, surroundings: CredentialSurroundings) {
    this.account = accountName("helper", name);
    const program = `docker-credential-${name}`;
    const { clock, onTrouble } = surroundings;
    this.#renewed = new Renewed({
      clock,
      timeoutMs: PROGRAM_TIMEOUT_MS,
      what: `${surroundings.name}: the program ${program}`,
      obtain: async ({ signal }) => {
        const held = await ask(program, server, surroundings, signal);
        return leaseOf({ held }, clock.now());
      },
      onFailure: ({ message }) => onTrouble(`${message}; what it gave before stays in use for now`),
    });
  }

  async hold(asking: Asking): Promise<Held | undefined> {
    this.#last = await this.#renewed.get(asking);
    return this.#last.held;
  }

  refused(held: Held): void {
    if (this.#last?.held === held) this.#renewed.forget(this.#last);
  }

  close(): Promise<void> {
    return this.#renewed.close();
  }
}

function leaseOf(value: { readonly held: Held | undefined }, now: number): Lease<{ readonly held: Held | undefined }> {
  const keptMs = value.held === undefined ? NOTHING_KEPT_MS : KEPT_MS;
  return { value, renewAt: now + Math.min(RENEWED_MS, keptMs), expiresAt: now + keptMs };
}

async function ask(
  program: string,
  server: string,
  { run, env, name }: CredentialSurroundings,
  signal: AbortSignal,
): Promise<Held | undefined> {
  const fail = (what: string) => new Failure("refused", `${name}: the program ${program} ${what}`);
  const options = { env, input: server, maxBytes: MAX_PROGRAM_BYTES, signal };
  const ran = await run(program, ["get"], options).catch((error: unknown) => {
    const code = errnoOf(error);
    if (error instanceof Failure || code === undefined) throw error;
    throw fail(code === "ENOENT" ? "is not there: it must be in a directory of PATH" : `cannot be started (${code})`);
  });
  if (ran.output === undefined) throw fail(`wrote more than ${MAX_PROGRAM_BYTES} bytes`);
  const text = ran.output.toString("utf8").trim();
  if (ran.status !== 0) {
    if (text === NOT_FOUND) return undefined;
    const how = ran.status === undefined ? "was ended by a signal" : `exited with status ${ran.status}`;
    throw fail(`${how}; run it by hand to see why: echo ${server} | ${program} get`);
  }
  const held = parseAnswer(text);
  if (held === "unusable") throw fail("wrote something that is no credential");
  return held;
}

/** Undefined where there is none. */
export function parseAnswer(text: string): Held | undefined | "unusable" {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    return "unusable";
  }
  if (typeof answer !== "object" || answer === null) return "unusable";
  const { Username: username, Secret: secret } = answer as { Username?: unknown; Secret?: unknown };
  if (typeof username !== "string" || typeof secret !== "string") return "unusable";
  if (secret === "") return username === "" ? undefined : "unusable";
  if (username === TOKEN_USER) return /^[\x21-\x7e]+$/.test(secret) ? { kind: "identity", token: secret } : "unusable";
  return username === "" ? "unusable" : { kind: "basic", username, password: secret };
}
