/**
 * One credential alone: its surroundings, somebody who asks for it, and a server on loopback that plays a cloud.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import type { CredentialForm } from "../../../src/config/credential.ts";
import type { Asking, CredentialSource } from "../../../src/upstream/credentials/credential.ts";
import { type OpenSurroundings, openCredential } from "../../../src/upstream/credentials/open.ts";
import { ManualClock } from "../../kit/clock.ts";
import { makeTempDir } from "../../kit/temp.ts";

export interface Scene {
  readonly clock: ManualClock;
  /** What was told to the operator. */
  readonly troubles: string[];
  readonly surroundings: OpenSurroundings;
  open(form: CredentialForm): Promise<CredentialSource>;
  /** As a request does it. */
  asking(signal?: AbortSignal): Asking;
}

export interface SceneOptions extends Partial<OpenSurroundings> {
  readonly post?: Asking["post"];
}

/** What it opens is closed at the test's end. */
export function createScene(t: TestContext, { post, ...more }: SceneOptions = {}): Scene {
  const clock = new ManualClock();
  const troubles: string[] = [];
  const surroundings: OpenSurroundings = {
    name: "registry.example.com",
    endpoint: new URL("https://registry.example.com"),
    clock,
    env: {},
    onTrouble: (message) => troubles.push(message),
    ...more,
  };
  return {
    clock,
    troubles,
    surroundings,
    async open(form) {
      const source = await openCredential(form, surroundings);
      t.after(() => source.close?.());
      return source;
    },
    asking: (signal = new AbortController().signal) => ({
      signal,
      endpoint: surroundings.endpoint,
      post: post ?? (() => Promise.reject(new Error("nothing is posted here"))),
    }),
  };
}

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

export interface PlayedCloud {
  readonly origin: string;
  readonly host: string;
  readonly seen: Seen[];
  /** How many connections it has now. */
  connections(): Promise<number>;
}

/** Answers every request by `reply`; ends with the test. */
export async function playCloud(
  t: { after(end: () => Promise<void>): void },
  reply: (request: Seen, response: ServerResponse) => void,
): Promise<PlayedCloud> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (piece: string) => {
      body += piece;
    });
    request.on("end", () => {
      const one = { method: request.method ?? "", url: request.url ?? "", headers: request.headers, body };
      seen.push(one);
      reply(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin: `http://${host}`,
    host,
    seen,
    connections: () =>
      new Promise((resolve, reject) =>
        server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
      ),
  };
}

export function sendJson(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

/** Variables of this process for one test: the clouds' packages read them there and nowhere else. */
export function setEnv(t: TestContext, values: Readonly<Record<string, string | undefined>>): void {
  const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]));
  const put = (all: Readonly<Record<string, string | undefined>>) => {
    for (const [name, value] of Object.entries(all)) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
  put(values);
  t.after(() => put(before));
}

/** A directory for one test. */
export async function tempDir(t: TestContext): Promise<string> {
  const dir = await makeTempDir("credentials");
  t.after(() => dir[Symbol.asyncDispose]());
  return dir.path;
}
