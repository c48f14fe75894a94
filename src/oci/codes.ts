/**
 * The error codes of the OCI distribution specification (spec.md, "Error Codes"), and the envelope they travel in.
 */

export const OCI_CODES = [
  "BLOB_UNKNOWN",
  "BLOB_UPLOAD_INVALID",
  "BLOB_UPLOAD_UNKNOWN",
  "DIGEST_INVALID",
  "MANIFEST_BLOB_UNKNOWN",
  "MANIFEST_INVALID",
  "MANIFEST_UNKNOWN",
  "NAME_INVALID",
  "NAME_UNKNOWN",
  "SIZE_INVALID",
  "UNAUTHORIZED",
  "DENIED",
  "UNSUPPORTED",
  "TOOMANYREQUESTS",
] as const;

export type OciCode = (typeof OCI_CODES)[number];

/** The JSON text of an error answer. `UNKNOWN` and `UNAVAILABLE`, outside the list, are what distribution answers for trouble of its own. */
export function errorEnvelope(code: string, message: string, detail?: unknown): string {
  return JSON.stringify({ errors: [detail === undefined ? { code, message } : { code, message, detail }] });
}
