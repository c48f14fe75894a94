/**
 * What comes to a host of the zoo and what it says to that: requests and answers as data, before and after the wire.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Content } from "../content.ts";

/** One request, whoever it was sent to. */
export interface Visit {
  readonly method: string;
  /** As in the `Host` header: with a port where it is not 443. */
  readonly host: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly authorization: string | undefined;
  /** Of a POST, at most a few KiB. */
  readonly form: URLSearchParams;
}

export type VisitKind = "manifest" | "blob" | "tags" | "referrers" | "ping" | "token" | "storage" | "other";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body: Content | Buffer;
  /** The connection ends after so many bytes of the body. */
  readonly cutAfterBytes?: number | undefined;
}

/** One role of a host: API, token server, storage. A host may have several. */
export interface Desk {
  /** Undefined where the path is none of this desk's. */
  kindOf(visit: Visit): VisitKind | undefined;
  answer(visit: Visit): Answer;
  /** Was this `Authorization` given out for this desk (or set up as its password), though it may have expired since? */
  owns(authorization: string): boolean;
  /** The same of the secret in a form; default none is. */
  takes?(form: URLSearchParams): boolean;
}

export interface House {
  /** With its port where that is not 443. */
  readonly host: string;
  /** The first that knows the path answers. */
  readonly desks: readonly Desk[];
  /** Answers what no desk knows; default 404 in plain text. */
  readonly otherwise?: Answer;
}

export interface Account {
  readonly username: string;
  readonly password: string;
}

export function findBasic(authorization: string | undefined): Account | undefined {
  const encoded = authorization === undefined ? undefined : /^Basic ([A-Za-z0-9+/]+=*)$/i.exec(authorization)?.[1];
  if (encoded === undefined) return undefined;
  const text = Buffer.from(encoded, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

export function isSameAccount(one: Account | undefined, other: Account | undefined): boolean {
  return one !== undefined && one.username === other?.username && one.password === other.password;
}

export function findBearer(authorization: string | undefined): string | undefined {
  return authorization === undefined ? undefined : /^Bearer ([\x21-\x7e]+)$/i.exec(authorization)?.[1];
}
