/**
 * `h2load`: a blob over TLS, again and again, over HTTP/1.1 or HTTP/2. Its windows are as wide as it makes them (2^30),
 * so that it is the server that is measured; one cipher is offered, so that all servers take the same.
 */
import { run } from "../test/e2e/processes.ts";
import { needProgram, pinned } from "./programs.ts";
import type { Protocol } from "./secure.ts";

export interface H2loadOptions {
  readonly url: string;
  readonly requests: number;
  readonly connections: number;
  readonly protocol: Protocol;
  readonly core?: number | undefined;
}

export interface H2loadResult {
  readonly seconds: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly bodyBytes: number;
  readonly cipher: string;
  readonly protocol: string;
}

const CIPHER_1_3 = "TLS_AES_128_GCM_SHA256";
const CIPHER_1_2 = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256";

/** @throws MissingProgram. */
export async function runH2load(options: H2loadOptions): Promise<H2loadResult> {
  const { url, requests, connections, protocol } = options;
  const flags = ["-n", `${requests}`, "-c", `${connections}`, "-m", "1", "-t", "1"];
  const tls = [`--tls13-ciphers=${CIPHER_1_3}`, `--ciphers=${CIPHER_1_2}`];
  const args = [...(protocol === "h2" ? [] : ["--h1"]), ...flags, ...tls, url];
  const { stdout } = await run(...pinned(options.core, needProgram("h2load"), args), { timeoutMs: 120_000 });
  return parseH2load(stdout);
}

/** @throws where the text is not h2load's. */
export function parseH2load(text: string): H2loadResult {
  const need = (pattern: RegExp): RegExpExecArray => {
    const match = pattern.exec(text);
    if (match === null) throw new Error(`h2load said something else: ${text.slice(-500)}`);
    return match;
  };
  const [, time, unit = ""] = need(/^finished in ([\d.]+)(us|ms|s|m|h)\b/m);
  const [, succeeded, failed, errored, timedOut] = need(/(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/);
  const [, bodyBytes] = need(/\((\d+)\) data$/m);
  const factor = { us: 1e-6, ms: 1e-3, s: 1, m: 60, h: 3600 }[unit] ?? Number.NaN;
  return {
    seconds: Number(time) * factor,
    succeeded: Number(succeeded),
    failed: Number(failed) + Number(errored) + Number(timedOut),
    bodyBytes: Number(bodyBytes),
    cipher: /^Cipher: (\S+)/m.exec(text)?.[1] ?? "none",
    protocol: /^Application protocol: (\S+)/m.exec(text)?.[1] ?? "none",
  };
}
