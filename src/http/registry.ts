/**
 * The registry API: one request from parsing over routing to its answer. Reading is all it offers.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { Failure } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { Blobs } from "../mirror/blobs.ts";
import type { Listings } from "../mirror/listings.ts";
import type { Manifests } from "../mirror/manifests.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import { makeRoute, type Route, type Source } from "../mirror/route.ts";
import { referenceText } from "../oci/reference.ts";
import { type Addressing, type RoutingTable, routeTo, selectUpstream } from "../upstream/registries/routing.ts";
import { serveBlob } from "./blobs.ts";
import { type ParsedCall, parseCall } from "./call.ts";
import { ClientGone, Exchange } from "./exchange.ts";
import { replyList } from "./listings.ts";
import { serveManifest } from "./manifests.ts";
import { commonHeaders, namespaceText, replyError, replyFailure } from "./reply.ts";
import type { Sending } from "./send.ts";

export interface RegistryParts {
  readonly manifests: Manifests;
  readonly blobs: Blobs;
  readonly listings: Listings;
  readonly routing: RoutingTable<Source>;
  readonly notices: Emitter<MirrorNotices>;
  readonly sending: Sending;
  /** How this very mirror signs requests to upstreams in `Via`; a request that carries it has come back to us. */
  readonly signature: string;
}

/** RFC 5842 §7.2 has the status, 508. */
const LOOP = { code: "UNAVAILABLE", message: "this mirror is its own upstream: check `upstreams.*.url`" };

export function createRegistryApi(parts: RegistryParts): RequestListener {
  return (request, response) => {
    const exchange = new Exchange(request, response, parts.notices);
    serve(parts, exchange).catch((error: unknown) => {
      if (error instanceof ClientGone || exchange.gone) {
        response.destroy();
        return;
      }
      try {
        replyFailure(exchange, error);
      } catch {
        response.destroy();
      }
    });
  };
}

async function serve(parts: RegistryParts, exchange: Exchange): Promise<void> {
  const { request, response } = exchange;
  if (request.headers.via?.includes(parts.signature)) {
    replyError(exchange, 508, LOOP, { cache: "none" });
    return;
  }
  checkRequest(request, response);
  const { call, ns, prefix } = parseCall(request.url ?? "/");
  exchange.kind = call.kind;
  if (ns !== undefined) response.setHeader("OCI-Namespace", namespaceText(ns));
  const addressing: Addressing = { ns, prefix, host: request.headers.host };
  switch (call.kind) {
    case "ping":
      selectUpstream(parts.routing, addressing);
      exchange.head(200, {
        ...commonHeaders(exchange, { cache: "none" }),
        "Content-Type": "application/json",
        "Content-Length": 2,
      });
      exchange.end(Buffer.from("{}"));
      return;
    case "catalog": {
      const source = selectUpstream(parts.routing, addressing);
      exchange.upstream = source?.name;
      replyList(exchange, parts.listings.catalog(source?.name, call.paging), "tags", "_catalog");
      return;
    }
    default:
      await serveNamed(parts, exchange, call, addressing);
  }
}

async function serveNamed(
  parts: RegistryParts,
  exchange: Exchange,
  call: Exclude<ParsedCall["call"], { kind: "ping" | "catalog" }>,
  addressing: Addressing,
): Promise<void> {
  const route = routed(parts, exchange, addressing, call.name);
  switch (call.kind) {
    case "manifest":
      exchange.reference = referenceText(call.reference);
      return await serveManifest(exchange, parts.manifests, route, call.reference);
    case "blob":
      exchange.reference = call.digest;
      return await serveBlob(exchange, parts.blobs, route, call.digest, parts.sending);
    case "tags":
      return replyList(exchange, await parts.listings.tags(route, call.paging, exchange), "tags", call.name);
    case "referrers": {
      exchange.reference = call.digest;
      const { digest, artifactType, paging } = call;
      const answer = await parts.listings.referrers(route, digest, artifactType, paging, exchange);
      return replyList(exchange, answer, "referrers", digest);
    }
  }
}

function routed(parts: RegistryParts, exchange: Exchange, addressing: Addressing, name: string): Route {
  const { upstream: source, repository } = routeTo(parts.routing, addressing, name);
  exchange.upstream = source.name;
  exchange.repository = repository;
  return makeRoute(source, repository);
}

function checkRequest(request: IncomingMessage, response: ServerResponse): void {
  const { method, headers } = request;
  const hasBody = headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
  // What the client still sends is not read: the connection cannot be used for another request.
  if (hasBody) response.setHeader("Connection", "close");
  if (method !== "GET" && method !== "HEAD") {
    throw new Failure("unsupported", "this is a mirror: it answers GET and HEAD only; push to the registry itself");
  }
  if (hasBody) throw new Failure("invalid", "a GET or HEAD request has no body", { code: "UNSUPPORTED" });
}
