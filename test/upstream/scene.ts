/**
 * Scripted HTTP servers on loopback and an upstream that asks them, for the tests of this folder.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { Notices } from "../../src/base/notices.ts";
import { parseDigest } from "../../src/oci/digest.ts";
import { parseReference, parseRepository } from "../../src/oci/reference.ts";
import { createUpstream } from "../../src/upstream/client.ts";
import type { CredentialSource } from "../../src/upstream/credentials/credential.ts";
import type { Network } from "../../src/upstream/network/network.ts";
import type { UpstreamNotices } from "../../src/upstream/notices.ts";
import type { UpstreamOptions } from "../../src/upstream/options.ts";
import { fixedCredential } from "./credentials/fixed.ts";

export const app = parseRepository("team/app");
export const latest = parseReference("latest");
export const digest = parseDigest(`sha256:${"a".repeat(64)}`);
export const never = new AbortController().signal;

export interface Played {
  readonly url: string;
  /** What came in, in order: `GET /path?query`, and its headers. */
  readonly requests: { readonly line: string; readonly headers: IncomingMessage["headers"] }[];
}

/** Closed when the test ends. */
export async function play(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse, path: string) => void,
): Promise<Played> {
  const requests: Played["requests"] = [];
  const server = createServer((request, response) => {
    requests.push({ line: `${request.method} ${request.url}`, headers: request.headers });
    handle(request, response, request.url ?? "");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    return new Promise<void>((resolve) => server.close(() => resolve()));
  });
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, requests };
}

/** A credential as the tests write it. */
export type Login = { readonly username: string; readonly password: string } | { readonly token: string };

export type Asked = Partial<Omit<UpstreamOptions, "credentials">> & {
  readonly credentials?: readonly (Login | CredentialSource)[];
  /** Besides them, with repositories of their own. */
  readonly accounts?: UpstreamOptions["credentials"];
};

export function sourceOf(login: Login | CredentialSource): CredentialSource {
  if ("hold" in login) return login;
  return "token" in login
    ? fixedCredential("token", { kind: "bearer", ...login })
    : fixedCredential(login.username, { kind: "basic", ...login });
}

/** An upstream named `reg.test` at `url`, with all it said. */
export function ask(
  t: TestContext,
  url: string,
  { credentials = [], accounts = [], ...more }: Asked = {},
  network: Network = {},
) {
  const notices = new Notices<UpstreamNotices>();
  const said: { kind: keyof UpstreamNotices; fact: unknown }[] = [];
  const kinds = ["upstreamRequest", "upstreamBytes", "upstreamLimited", "rateLimit", "upstreamTrouble"] as const;
  for (const kind of [...kinds, "upstreamCircuit"] as const) {
    notices.on(kind, (fact) => said.push({ kind, fact }));
  }
  const options: UpstreamOptions = {
    url,
    allowPrivate: true,
    tls: { insecureSkipVerify: false },
    credentials: [...credentials.map((one) => ({ source: sourceOf(one), repositories: ["**"] })), ...accounts],
    tokenRealm: null,
    limits: { connections: 64 },
    offline: false,
    ...more,
  };
  const upstream = createUpstream("reg.test", options, { notices, clock: systemClock, network });
  t.after(() => upstream.close());
  return { upstream, said };
}

export const basic = (username: string, password: string) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
