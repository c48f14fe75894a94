/**
 * How the test upstream asks who is there: not at all, Basic, or Bearer with tokens of its own.
 */
import { randomBytes } from "node:crypto";
import type { RecordedRequest } from "./faults.ts";

export type UpstreamAuth =
  | { readonly mode: "none" }
  | { readonly mode: "basic"; readonly username: string; readonly password: string }
  | {
      readonly mode: "bearer";
      /** With both, the token server wants them; without, it gives tokens to anybody. */
      readonly username?: string;
      readonly password?: string;
      readonly service?: string;
      /** What the token server says, and keeps to; default 300. Undefined leaves `expires_in` away and means 60. */
      readonly expiresInSeconds?: number | undefined;
      readonly tokenField?: "token" | "access_token";
      /** The challenge as it is sent, with `{realm}` and `{scope}` filled in; default the common form. */
      readonly challenge?: string;
      /** Repositories whose scope is granted no action. */
      readonly deniedRepositories?: readonly string[];
    };

export interface TokenRequest {
  readonly scopes: readonly string[];
  readonly service: string | undefined;
  /** User name of the Basic credentials that came along. */
  readonly username: string | undefined;
  readonly status: number;
}

interface GrantedToken {
  readonly repositories: ReadonlySet<string>;
  readonly expiresAt: number;
}

export interface TokenReply {
  readonly status: number;
  readonly body: object;
}

export class TokenDesk {
  auth: UpstreamAuth;
  readonly requests: TokenRequest[] = [];
  readonly #granted = new Map<string, GrantedToken>();

  constructor(auth: UpstreamAuth) {
    this.auth = auth;
  }

  /** Forgets every token that was given; clients that hold one will get 401. */
  revokeAll(): void {
    this.#granted.clear();
  }

  /** Answers one request to the token server. */
  issue(request: RecordedRequest): TokenReply {
    const auth = this.auth;
    if (auth.mode !== "bearer") return { status: 404, body: {} };
    const scopes = request.query.getAll("scope").flatMap((scope) => scope.split(" "));
    const basic = findBasic(request.headers.authorization);
    const wrong =
      auth.username !== undefined && (basic?.username !== auth.username || basic.password !== auth.password);
    const status = wrong ? 401 : 200;
    this.requests.push({
      scopes,
      service: request.query.get("service") ?? undefined,
      username: basic?.username,
      status,
    });
    if (wrong) return { status, body: { errors: [{ code: "UNAUTHORIZED", message: "wrong credentials" }] } };
    const repositories = new Set<string>();
    for (const scope of scopes) {
      const name = /^repository:(.+):.*\bpull\b/.exec(scope)?.[1];
      if (name !== undefined && !auth.deniedRepositories?.includes(name)) repositories.add(name);
    }
    const token = randomBytes(24).toString("base64url");
    const seconds = "expiresInSeconds" in auth ? auth.expiresInSeconds : 300;
    this.#granted.set(token, { repositories, expiresAt: performance.now() + (seconds ?? 60) * 1000 });
    return {
      status,
      body: { [auth.tokenField ?? "token"]: token, ...(seconds === undefined ? {} : { expires_in: seconds }) },
    };
  }

  /** @returns the `WWW-Authenticate` to answer 401 with; undefined where the request may pass. */
  challengeFor(request: RecordedRequest, realm: string): string | undefined {
    const auth = this.auth;
    if (auth.mode === "none") return undefined;
    const header = request.headers.authorization;
    if (auth.mode === "basic") {
      const basic = findBasic(header);
      const right = basic?.username === auth.username && basic.password === auth.password;
      return right ? undefined : 'Basic realm="test"';
    }
    const token = header === undefined ? undefined : /^Bearer (.+)$/i.exec(header)?.[1];
    const granted = token === undefined ? undefined : this.#granted.get(token);
    const fits = request.repository === undefined || granted?.repositories.has(request.repository) === true;
    if (granted !== undefined && granted.expiresAt > performance.now() && fits) return undefined;
    const scope = request.repository === undefined ? "" : `repository:${request.repository}:pull`;
    const form =
      auth.challenge ??
      `Bearer realm="{realm}",service="${auth.service ?? "test"}"${scope === "" ? "" : ',scope="{scope}"'}`;
    return form.replace("{realm}", realm).replace("{scope}", scope);
  }
}

function findBasic(header: string | undefined): { username: string; password: string } | undefined {
  const encoded = header === undefined ? undefined : /^Basic (.+)$/i.exec(header)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString();
  const colon = text.indexOf(":");
  return { username: text.slice(0, colon), password: text.slice(colon + 1) };
}
