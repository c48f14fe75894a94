/**
 * The second listener: metrics, health and the admin API, never the registry API.
 */
import type { RequestListener, ServerResponse } from "node:http";
import { type AdminApiParts, createAdminApiListener } from "./admin-api.ts";

export interface Readiness {
  readonly ready: boolean;
  readonly reason: string;
  /** It serves, though not as it should: still 200, for nothing is gained by sending clients elsewhere. */
  readonly degraded?: { readonly since: number; readonly advice: string } | undefined;
}

export interface AdminParts {
  metrics(): Promise<{ readonly contentType: string; readonly text: string }>;
  readiness(): Readiness;
  readonly api: AdminApiParts;
}

const PAGES = ["/metrics", "/healthz", "/readyz", "/api/v1/openapi.json"];

export function createAdminApi(parts: AdminParts): RequestListener {
  const api = createAdminApiListener(parts.api);
  return (request, response) => {
    const path = request.url?.split("?", 1)[0];
    if (path?.startsWith("/api/") === true) {
      api(request, response);
      return;
    }
    if (request.method !== "GET" && request.method !== "HEAD") {
      reply(response, 405, { error: "GET and HEAD only" }, { Allow: "GET, HEAD" });
      return;
    }
    switch (path) {
      case "/healthz":
        reply(response, 200, { status: "alive" });
        return;
      case "/readyz": {
        const { ready, reason, degraded } = parts.readiness();
        if (!ready || degraded === undefined) {
          reply(response, ready ? 200 : 503, { status: ready ? "ready" : "unready", reason });
          return;
        }
        const since = new Date(degraded.since).toISOString();
        reply(response, 200, { status: "degraded", reason, since, advice: degraded.advice });
        return;
      }
      case "/metrics":
        parts.metrics().then(
          ({ contentType, text }) => {
            response.writeHead(200, { "Content-Type": contentType, "Content-Length": Buffer.byteLength(text) });
            response.end(text);
          },
          () => reply(response, 500, { error: "the metrics could not be collected" }),
        );
        return;
      default:
        reply(response, 404, { error: "no such page", pages: PAGES });
    }
  };
}

function reply(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(text),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    ...headers,
  });
  response.end(text);
}
