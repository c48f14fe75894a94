/**
 * The mirror's certificate as the clients of this machine judge it: by the system's store, and by what Docker is told in
 * `/etc/docker/certs.d/<host>/`. Looked at whether it is trusted or not; nothing is sent over that connection.
 */
import { isIP } from "node:net";
import { checkServerIdentity, connect, getCACertificates } from "node:tls";
import type { Files } from "./files.ts";
import { type Finding, fail, ok, warn } from "./finding.ts";

const WARN_DAYS = 14;
const DAY_MS = 86_400_000;

interface Shown {
  readonly trusted: boolean;
  readonly fault: string;
  readonly until: number;
  readonly wrongName: boolean;
}

/** Empty where no connection comes about, which another finding tells. */
export async function lookAtCertificate(
  url: URL,
  files: Files,
  timeoutMs: number,
  now: number,
  ca: string | undefined,
): Promise<readonly Finding[]> {
  const usual = [...new Set([...getCACertificates("default"), ...getCACertificates("system")])];
  const shown = await handshake(url, ca === undefined ? usual : [...usual, ca], timeoutMs);
  if (shown === undefined) return [];
  const check = "certificate";
  const day = new Date(shown.until).toISOString().slice(0, 10);
  const directory = `/etc/docker/certs.d/${url.host}`;
  if (shown.until < now)
    return [fail(check, `it has expired on ${day}`, "renew it; the mirror reads it again by itself")];
  if (shown.wrongName) {
    return [
      fail(
        check,
        `it is not for ${url.hostname}`,
        "ask the mirror by a name that is in it, or have one made for this name",
      ),
    ];
  }
  const daysLeft = Math.floor((shown.until - now) / DAY_MS);
  const age = `until ${day} (${daysLeft} days)`;
  const expiry = daysLeft < WARN_DAYS ? [warn("expiry", `the certificate is good ${age} only`, "renew it")] : [];
  if (shown.trusted) return [ok(check, `trusted by this machine, ${age}`), ...expiry];
  const forDocker = files
    .list(directory)
    .filter((name) => name.endsWith(".crt"))
    .map((name) => files.find(`${directory}/${name}`)?.text ?? "")
    .filter((text) => text.includes("BEGIN CERTIFICATE"));
  const place = files.pathOf(`${directory}/ca.crt`);
  if (forDocker.length > 0 && (await handshake(url, [...usual, ...forDocker], timeoutMs))?.trusted === true) {
    const next =
      'for containerd: ca = "…" in hosts.toml; for everybody: add it to the system\'s store (update-ca-certificates, update-ca-trust)';
    return [warn(check, `trusted by Docker (${place}), not by this machine's store, ${age}`, next), ...expiry];
  }
  const next = `put the certificate of its authority into ${place} (Docker), into hosts.toml as ca = "…" (containerd), or into the system's store (update-ca-certificates, update-ca-trust)`;
  return [fail(check, `this machine does not trust it (${shown.fault}), ${age}`, next), ...expiry];
}

function handshake(url: URL, authorities: readonly string[], timeoutMs: number): Promise<Shown | undefined> {
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return new Promise((resolve) => {
    const socket = connect({
      host,
      port: url.port === "" ? 443 : Number(url.port),
      ca: [...authorities],
      rejectUnauthorized: false,
      // No server name is sent for an address (RFC 6066 §3).
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    const end = (shown: Shown | undefined) => {
      socket.destroy();
      resolve(shown);
    };
    socket.setTimeout(timeoutMs, () => end(undefined));
    socket.on("error", () => end(undefined));
    socket.once("close", () => resolve(undefined));
    socket.once("secureConnect", () => {
      const certificate = socket.getPeerCertificate();
      const fault: unknown = socket.authorizationError;
      end({
        trusted: socket.authorized,
        fault: fault instanceof Error && "code" in fault ? String(fault.code) : String(fault),
        until: Date.parse(certificate.valid_to),
        wrongName: checkServerIdentity(host, certificate) !== undefined,
      });
    });
  });
}
