/**
 * A token server of our own for a real registry: JSON Web Tokens as distribution takes them (docs/content/spec/auth/jwt.md),
 * signed with the zoo's key, whose certificate the registry is told to trust.
 */
import { randomUUID, sign, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { pemFile } from "../kit/zoo/zoo.ts";

export interface Login {
  readonly username: string;
  readonly password: string;
}

interface Access {
  readonly type: "repository";
  readonly name: string;
  readonly actions: readonly string[];
}

const SERVICE = "registry of the tests";
const ISSUER = "token server of the tests";
const LIFE_SECONDS = 300;

export class JwtServer {
  /** Scopes that were asked for, a request each. */
  readonly asked: string[] = [];
  readonly #login: Login;
  readonly #server: Server;

  private constructor(login: Login) {
    this.#login = login;
    this.#server = createServer((request, response) => this.#answer(request, response));
  }

  static async start(login: Login): Promise<JwtServer> {
    const server = new JwtServer(login);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  /** What the registry's configuration says of it. */
  get settings(): Readonly<Record<string, string>> {
    const { port } = this.#server.address() as AddressInfo;
    const realm = `http://127.0.0.1:${port}/token`;
    return { realm, service: SERVICE, issuer: ISSUER, rootcertbundle: pemFile("zoo") };
  }

  /** For who fills the registry. */
  authorizationToPush(repository: string): string {
    return `Bearer ${issue("filler", [{ type: "repository", name: repository, actions: ["pull", "push"] }])}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeAllConnections();
    await closed;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.resume();
    const { username, password } = this.#login;
    const { searchParams } = new URL(request.url ?? "/", "http://token.test");
    const scopes = searchParams.getAll("scope");
    this.asked.push(scopes.join(" "));
    const shown = request.headers.authorization;
    const known = shown === `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
    response.setHeader("content-type", "application/json");
    if (!known || searchParams.get("service") !== SERVICE) {
      response.writeHead(401).end('{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}');
      return;
    }
    const access = scopes.flatMap((scope): Access[] => {
      const name = /^repository:(.+):pull$/.exec(scope)?.[1];
      return name === undefined ? [] : [{ type: "repository", name, actions: ["pull"] }];
    });
    response.end(JSON.stringify({ token: issue(username, access), expires_in: LIFE_SECONDS }));
  }
}

function issue(subject: string, access: readonly Access[]): string {
  const certificate = new X509Certificate(readFileSync(pemFile("zoo")));
  const now = Math.floor(Date.now() / 1000);
  const header = { typ: "JWT", alg: "ES256", x5c: [certificate.raw.toString("base64")] };
  const claims = {
    ...{ iss: ISSUER, sub: subject, aud: SERVICE, jti: randomUUID(), access },
    ...{ iat: now, nbf: now - 10, exp: now + LIFE_SECONDS },
  };
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${encode(header)}.${encode(claims)}`;
  const key = { key: readFileSync(pemFile("zoo-key")), dsaEncoding: "ieee-p1363" } as const;
  return `${text}.${sign("sha256", Buffer.from(text), key).toString("base64url")}`;
}
