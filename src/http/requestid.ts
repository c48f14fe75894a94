/**
 * Request ids: taken over from the client if well-formed, so that a chain of services can be followed, else made here.
 */
import { randomBytes } from "node:crypto";

const SHAPE = /^[A-Za-z0-9._-]{8,128}$/;
const prefix = randomBytes(6).toString("hex");
let serial = 0;

/** @param header as Node gives it; more than one is none. */
export function findRequestId(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" && SHAPE.test(header) ? header : undefined;
}

/** Unique across processes by a random prefix, in this one by counting: an id is no secret and must cost nothing. */
export function newRequestId(): string {
  serial += 1;
  return `${prefix}-${serial.toString(36)}`;
}
