/**
 * How one client proves who it is: nothing, Basic, or a token fetched from the server that a challenge names.
 *
 * A password goes to a token server only where the mirror itself would send one there. A token is kept for its
 * repository and thrown away before it expires.
 */
import { Failure } from "../base/failure.ts";
import { type Challenge, chooseChallenge, parseChallenges } from "../upstream/auth/challenge.ts";
import { judgeRealm } from "../upstream/auth/realm.ts";
import type { Line } from "./line.ts";
import { Mishap } from "./mishap.ts";
import type { LoadOptions } from "./options.ts";
import type { Place } from "./place.ts";
import type { Answer } from "./receipt.ts";

interface Pass {
  readonly authorization: string;
  /** On the monotonic clock. */
  readonly expiresAt: number;
}

const MAX_TOKEN_ANSWER_BYTES = 256 * 1024;
/** What a token lives where the server does not say (distribution's token specification). */
const DEFAULT_LIFE_SECONDS = 60;

export class Login {
  readonly #options: Pick<LoadOptions, "login" | "tokenRealm" | "url">;
  readonly #line: Line;
  readonly #passes = new Map<string, Pass>();
  readonly #running = new Map<string, Promise<boolean>>();

  constructor(options: Pick<LoadOptions, "login" | "tokenRealm" | "url">, line: Line) {
    this.#options = options;
    this.#line = line;
  }

  headerFor(place: Place): string | undefined {
    const pass = this.#passes.get(place.repository);
    return pass !== undefined && pass.expiresAt > performance.now() ? pass.authorization : undefined;
  }

  /** Answers a 401 once for all requests that wait for it. @returns whether asking again may help @throws Mishap */
  answer(refusal: Answer, place: Place): Promise<boolean> {
    const running = this.#running.get(place.repository);
    if (running !== undefined) return running;
    const learning = this.#learn(refusal, place).finally(() => this.#running.delete(place.repository));
    this.#running.set(place.repository, learning);
    return learning;
  }

  async #learn(refusal: Answer, place: Place): Promise<boolean> {
    const challenge = chooseChallenge(parseChallenges(refusal.headers["www-authenticate"]));
    if (challenge === undefined) return false;
    if (challenge.scheme === "basic") {
      const authorization = this.#basic();
      if (authorization === undefined || this.headerFor(place) === authorization) return false;
      this.#passes.set(place.repository, { authorization, expiresAt: Infinity });
      return true;
    }
    this.#passes.set(place.repository, await this.#fetchToken(challenge, place));
    return true;
  }

  async #fetchToken({ parameters }: Challenge, place: Place): Promise<Pass> {
    const verdict = judgeRealm({
      realm: parameters.get("realm") ?? "",
      endpoint: this.#options.url,
      tokenRealm: this.#options.tokenRealm,
      withCredential: this.#options.login !== undefined,
    });
    if ("refuse" in verdict) {
      throw new Failure("refused", `no token is asked for: ${verdict.refuse}; --token-realm URL allows one`);
    }
    const url = verdict.ask;
    const service = parameters.get("service");
    if (service !== undefined) url.searchParams.set("service", service);
    url.searchParams.append("scope", parameters.get("scope") ?? `repository:${place.repository}:pull`);
    const answer = await this.#line.send({
      method: "GET",
      url,
      headers: { accept: "application/json" },
      authorization: this.#basic(),
      keepBytes: MAX_TOKEN_ANSWER_BYTES,
    });
    if (answer.status !== 200) throw new Mishap(`status ${answer.status}`, `the token server ${url.host} refused`);
    return readPass(answer.body);
  }

  #basic(): string | undefined {
    const { login } = this.#options;
    if (login === undefined) return undefined;
    return `Basic ${Buffer.from(`${login.username}:${login.password}`).toString("base64")}`;
  }
}

function readPass(body: Buffer): Pass {
  let document: unknown;
  try {
    document = JSON.parse(body.toString());
  } catch {
    // Told below.
  }
  const { token, access_token, expires_in } = (document ?? {}) as Record<string, unknown>;
  const text = [token, access_token].find((one) => typeof one === "string" && /^[\x21-\x7e]+$/.test(one));
  if (text === undefined) throw new Mishap("bad answer", "the token server gave no token");
  const seconds = typeof expires_in === "number" && expires_in > 0 ? expires_in : DEFAULT_LIFE_SECONDS;
  return { authorization: `Bearer ${String(text)}`, expiresAt: performance.now() + seconds * 900 };
}
