/**
 * How the tests talk to the mirror: plain HTTP/1.1, HTTP/1.1 over TLS, or HTTP/2. The same tests run in each, chosen by
 * `WHARFINGER_TEST_MODE`; what a test says of HTTP/1.1's own bytes is said over HTTP/1.1 in all of them.
 */
import { fileURLToPath } from "node:url";

export type Mode = "plain" | "tls" | "h2";

const MODES: readonly string[] = ["plain", "tls", "h2"];

export const mode = modeOf(process.env["WHARFINGER_TEST_MODE"] ?? "plain");
// Programs that tests start read their settings from variables that begin like this one.
delete process.env["WHARFINGER_TEST_MODE"];

/** Settings of a mirror that goes with the mode, under `tls`. */
export function tlsOfMode(): Readonly<Record<string, unknown>> | undefined {
  return mode === "plain" ? undefined : { cert: pemPath("server"), key: pemPath("server-key") };
}

/** A file of `test/kit/tls`. */
export function pemPath(name: string): string {
  return fileURLToPath(new URL(`tls/${name}.pem`, import.meta.url));
}

function modeOf(text: string): Mode {
  if (!MODES.includes(text)) throw new Error(`WHARFINGER_TEST_MODE: expected one of ${MODES.join(", ")}`);
  return text as Mode;
}
