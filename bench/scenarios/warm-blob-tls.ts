/**
 * The same over TLS, where every byte must be encrypted by the server itself: HTTP/1.1 and HTTP/2, one certificate, one
 * cipher.
 */
import { atMost, ratios } from "../figures.ts";
import { type H2loadResult, runH2load } from "../h2load.ts";
import { startNginx } from "../nginx.ts";
import type { Sample } from "../samples.ts";
import { type Bench, cores, MIB, type Scenario } from "../scenario.ts";
import { CERTIFICATE, type Protocol } from "../secure.ts";
import type { Served } from "../served.ts";

const SIZE_BYTES = 256 * MIB;
const CONNECTIONS = 4;
const BAR = atMost(1.2, 1.05);

export const warmBlobTls: Scenario = {
  name: "warm-blob-tls",
  measures: `warm 256 MiB blob over TLS, ${CONNECTIONS} connections of h2load: cpu-s/GB beside nginx`,
  async run(bench: Bench) {
    const { dir, library, quick } = bench.parts;
    const blob = await library.blob(SIZE_BYTES, 1);
    const puller = bench.puller(cores().client);
    const core = cores().server;
    const ciphers = new Map<string, string>();

    const load = async (server: Served, protocol: Protocol, requests: number): Promise<Sample> => {
      const url = `https://127.0.0.1:${server.port}${server.blobPath(blob)}`;
      server.daemon.resetPeak();
      const cpuBefore = server.daemon.cpuSeconds();
      const got = await runH2load({ url, requests, connections: CONNECTIONS, protocol, core: cores().client });
      check(got, protocol, requests);
      ciphers.set(server.name, got.cipher);
      return {
        cpuPerGigabyte: ((server.daemon.cpuSeconds() - cpuBefore) * 1e9) / got.bodyBytes,
        wallSeconds: got.seconds,
        gigabytesPerSecond: got.bodyBytes / 1e9 / got.seconds,
        residentMegabytes: server.daemon.peakBytes() / 1e6,
      };
    };
    const prepare = async (server: Served, protocol: Protocol) => {
      const target = { port: server.port, path: server.blobPath(blob) };
      const { status, digest } = await puller.run({ kind: "secure-hash", target, protocol });
      if (status !== 200 || digest !== blob.digest)
        throw new Error(`${server.name}: wrong answer: ${status}, ${digest}`);
      await server.settled();
      await load(server, protocol, CONNECTIONS);
    };

    const nginx = bench.keep(await startNginx({ name: bench.fileName("nginx"), dir, library, tls: CERTIFICATE, core }));
    // The yardstick first: its figures are worth having where the mirror does not come up.
    for (const protocol of ["http/1.1", "h2"] as const) {
      await prepare(nginx, protocol);
      bench.sample(`nginx, ${protocol}`, await load(nginx, protocol, CONNECTIONS * 2));
    }
    const mirror = await bench.mirror({ core, settings: { tls: CERTIFICATE } });
    const requests = CONNECTIONS * (quick ? 2 : 4);
    for (const protocol of ["http/1.1", "h2"] as const) {
      await bench.part(protocol, async () => {
        await prepare(mirror, protocol);
        bench.samples.delete(`nginx, ${protocol}`);
        for (let round = 0; round < (quick ? 2 : 5); round += 1) {
          for (const server of [mirror, nginx]) {
            bench.sample(`${server.name}, ${protocol}`, await load(server, protocol, requests));
          }
        }
        const [ours, theirs] = ["mirror", "nginx"].map((name) => ciphers.get(name));
        if (ours !== theirs) throw new Error(`different ciphers: ${ours}, ${theirs}`);
        const costs = (server: string) => bench.series(`${server}, ${protocol}`, "cpuPerGigabyte");
        const what = `cpu-s/GB over ${protocol}, mirror ÷ nginx`;
        bench.find(what, ratios(costs("mirror"), costs("nginx")), { bar: BAR, note: ours });
      });
    }
  },
};

function check(got: H2loadResult, protocol: Protocol, requests: number): void {
  const right = got.succeeded === requests && got.failed === 0 && got.bodyBytes === requests * SIZE_BYTES;
  if (!right) throw new Error(`${got.succeeded} of ${requests} succeeded, ${got.bodyBytes} bytes`);
  if (got.protocol !== protocol) throw new Error(`spoke ${got.protocol} instead of ${protocol}`);
}
