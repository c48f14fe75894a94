/**
 * Where an upstream's API is, and the URLs below it.
 */
import { Failure } from "../../base/failure.ts";
import type { Repository } from "../../oci/reference.ts";
import { findKnown } from "../registries/known.ts";

/**
 * The configured URL, or what the registry's name says. A path is kept (Artifactory), a final `/v2` is not.
 * @throws Failure `invalid`
 */
export function parseEndpoint(name: string, configured: string | undefined): URL {
  const url = URL.parse(configured ?? findKnown(name)?.apiUrl ?? `https://${name}`);
  const good =
    url !== null &&
    (url.protocol === "https:" || url.protocol === "http:") &&
    url.username === "" &&
    url.password === "" &&
    url.search === "";
  if (!good) {
    throw new Failure("invalid", `upstreams.${name}.url: expected http(s)://host[:port][/path], without user or query`);
  }
  url.hash = "";
  url.pathname = url.pathname.replace(/\/+$/, "").replace(/\/v2$/, "");
  return url;
}

/** `<endpoint>/v2/<repository>/<rest>?<query>`. @throws Failure `invalid` for a query that cannot be sent. */
export function urlBelow(endpoint: URL, repository: Repository, rest: string, query = ""): URL {
  if (query.length > 4096 || !/^[\x21-\x7e]*$/.test(query)) {
    throw new Failure("invalid", "the query of a list is malformed", { code: "UNSUPPORTED" });
  }
  const url = new URL(endpoint);
  url.pathname = `${endpoint.pathname === "/" ? "" : endpoint.pathname}/v2/${repository}/${rest}`;
  url.search = query;
  return url;
}
