/**
 * Both lanes of a transport, for tests that say the same of each.
 */
import { readFileSync } from "node:fs";
import type { TestContext } from "node:test";
import type { TlsOptions } from "node:tls";
import { fileURLToPath } from "node:url";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { failureOf } from "../../../src/upstream/exchange/trouble.ts";
import type { Network } from "../../../src/upstream/network/network.ts";
import { type Answer, type Lane, openTransport } from "../../../src/upstream/network/transport.ts";
import type { Timeouts, UpstreamOptions } from "../../../src/upstream/options.ts";
import { never, readAll } from "../wire/scene.ts";

export const LANES: readonly Lane[] = ["small", "blob"];

export const pem = (name: string) => fileURLToPath(new URL(`../../kit/tls/${name}.pem`, import.meta.url));

/** Of a server that shows certificate `name`. */
export const shows = (name: string): TlsOptions => ({
  cert: readFileSync(pem(name)),
  key: readFileSync(pem(`${name}-key`)),
});

export interface LaneParts {
  readonly network?: Network;
  readonly options?: Partial<UpstreamOptions>;
  readonly timeouts?: Partial<Timeouts>;
  readonly clock?: Clock;
}

/** A transport of an upstream at `endpoint`, closed when the test ends; without proxies if the network names none. */
export function openLane(t: TestContext, lane: Lane, endpoint: string, parts: LaneParts = {}) {
  const options: UpstreamOptions = {
    allowPrivate: true,
    tls: { insecureSkipVerify: false },
    credentials: [],
    tokenRealm: null,
    limits: { connections: 4 },
    offline: false,
    ...parts.options,
  };
  const timeouts = { connectMs: 5000, headersMs: 5000, bodyMs: 5000, ...parts.timeouts };
  const clock = parts.clock ?? systemClock;
  const network = { env: {}, ...parts.network };
  const troubles: string[] = [];
  const transport = openTransport("reg.test", [new URL(endpoint)], options, timeouts, clock, network, (message) =>
    troubles.push(message),
  );
  t.after(() => transport.close());
  const get = (url: string, headers: Record<string, string> = {}, signal = never): Promise<Answer> =>
    transport.request(new URL(url), { method: "GET", headers, lane, signal });
  return {
    troubles,
    get,
    async text(url: string): Promise<string> {
      const bytes = await readAll((await get(url)).body);
      // undici takes a connection for busy until a turn after its body.
      await new Promise((resolve) => setImmediate(resolve));
      return bytes.toString("latin1");
    },
    /** What it fails with, as it leaves the folder. */
    async failure(url: string, signal?: AbortSignal) {
      const error = await get(url, {}, signal).then(
        ({ status }) => new Error(`it should have failed, and answered ${status}`),
        (thrown: unknown) => thrown,
      );
      return failureOf(error, "reg.test", new URL(url));
    },
    close: () => transport.close(),
  };
}

/** Names that resolve to nothing else; each answer is the last one's turn, and stays where there is no further. */
export function names(book: Readonly<Record<string, readonly (readonly string[])[]>>) {
  const asked: string[] = [];
  const resolve: NonNullable<Network["resolve"]> = (name, _options, callback) => {
    const turns = book[name];
    const addresses = turns?.[Math.min(asked.filter((one) => one === name).length, turns.length - 1)];
    asked.push(name);
    if (addresses === undefined) {
      callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: "ENOTFOUND" }), []);
      return;
    }
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
  };
  return { resolve, asked };
}
