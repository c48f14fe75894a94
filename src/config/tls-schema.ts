/**
 * How the registry API proves who it is, and whom it lets in by certificate. Nothing given is plain HTTP.
 *
 * Only files are named here. What they hold is read, and checked against each other, when the listener is made.
 */
import * as z from "zod";
import { file, keyDocs, section } from "./fields.ts";
import { ALWAYS, asRecord } from "./upstream-schema.ts";

const CERTIFICATE_FILE = "PEM file of the certificate, its chain below it; needs key.";
const KEY_FILE = "PEM file of the certificate's private key, not encrypted.";

const certificate = section("", { cert: file(CERTIFICATE_FILE, "server.pem"), key: file(KEY_FILE, "server-key.pem") })
  .superRefine(checkPair, ALWAYS)
  .superRefine((given, context) => {
    const { cert, key } = asRecord(given);
    if ((cert ?? key ?? null) === null) context.addIssue({ code: "custom", message: "expected cert and key" });
  }, ALWAYS);

const certificatesDoc = {
  doc: "More certificates, each {cert, key}; chosen by the names in them. Clients that name none get the first one.",
  default: [],
};

const clientAuthDoc = {
  doc: "With clientCa: is a client certificate needed, or only checked where there is one. Default required.",
  default: null,
  example: "required",
  choices: ["optional", "required"],
} as const;

const clientAuth = z
  .enum(clientAuthDoc.choices, { error: "expected optional or required" })
  .nullable()
  .default(null)
  .register(keyDocs, clientAuthDoc);

export const tls = section("Certificates of the registry API, read again when the files change; none = plain HTTP.", {
  cert: file(CERTIFICATE_FILE, "server.pem"),
  key: file(KEY_FILE, "server-key.pem"),
  certificates: z
    .array(certificate, { error: "expected a list of {cert, key}" })
    .max(100)
    .default([])
    .register(keyDocs, certificatesDoc),
  clientCa: file("PEM file of the authorities whose client certificates are let in.", "clients.pem"),
  clientAuth,
})
  .superRefine(checkPair, ALWAYS)
  .superRefine((value, context) => {
    const given = asRecord(value);
    const fault = (path: string, message: string) => context.addIssue({ code: "custom", path: [path], message });
    const hasCertificate = (given.cert ?? null) !== null || asList(given.certificates).length > 0;
    if ((given.clientCa ?? null) !== null) {
      if (!hasCertificate) fault("clientCa", "needs cert and key: without TLS no client shows a certificate");
    } else if ((given.clientAuth ?? null) !== null) {
      fault("clientAuth", "needs clientCa: nobody says which certificates to accept");
    }
  }, ALWAYS);

export type TlsConfig = z.output<typeof tls>;

/** True where the registry API is served over TLS. */
export function servesTls(config: TlsConfig): boolean {
  return config.cert !== undefined || config.certificates.length > 0;
}

function checkPair(given: unknown, context: z.core.$RefinementCtx): void {
  const { cert, key } = asRecord(given);
  const hasCert = (cert ?? null) !== null;
  if (hasCert === ((key ?? null) !== null)) return;
  const [present, missing] = hasCert ? ["cert", "key"] : ["key", "cert"];
  context.addIssue({ code: "custom", path: [present], message: `cert and key go together; ${missing} is missing` });
}

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
