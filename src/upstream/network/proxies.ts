/**
 * Which proxy a URL is asked by way of, from `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in lower case before upper; pure.
 *
 * The proxy is configuration, so it may live anywhere. Its user and password go to it alone, and are in no message.
 */
import { Failure } from "../../base/failure.ts";
import { bare } from "./addresses.ts";
import type { Network } from "./network.ts";
import { type Bypass, parseNoProxy } from "./noproxy.ts";

export interface ProxyServer {
  /** Where it was named, for messages. */
  readonly variable: string;
  /** Whether the way to the proxy is by TLS. */
  readonly secure: boolean;
  /** Without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Host and port, for messages. */
  readonly host: string;
  /** What `Proxy-Authorization` says. */
  readonly authorization: string | undefined;
}

type Environment = NonNullable<Network["env"]>;

export class Proxies {
  readonly #http: ProxyServer | undefined;
  readonly #https: ProxyServer | undefined;
  readonly #bypass: Bypass;

  /** @throws Failure `invalid` for what is no URL of a proxy; it names the variable. */
  constructor(env: Environment) {
    this.#https = findProxy(env, "https_proxy", "HTTPS_PROXY");
    // A server that runs programs by CGI hands them the client's `Proxy` header as HTTP_PROXY (CVE-2016-5385).
    const names = env["REQUEST_METHOD"] === undefined ? ["http_proxy", "HTTP_PROXY"] : ["http_proxy"];
    this.#http = findProxy(env, ...names);
    this.#bypass = parseNoProxy(env[findName(env, "no_proxy", "NO_PROXY") ?? ""] ?? "");
  }

  /** Undefined where the URL is asked directly. */
  find(url: URL): ProxyServer | undefined {
    const secure = url.protocol === "https:";
    const proxy = secure ? this.#https : this.#http;
    const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
    return proxy === undefined || this.#bypass(bare(url.hostname), port) ? undefined : proxy;
  }
}

/** The first of these that says anything. */
function findName(env: Environment, ...names: readonly string[]): string | undefined {
  return names.find((name) => (env[name]?.trim() ?? "") !== "");
}

function findProxy(env: Environment, ...names: readonly string[]): ProxyServer | undefined {
  const variable = findName(env, ...names);
  if (variable === undefined) return undefined;
  const text = env[variable]?.trim() ?? "";
  const url = URL.parse(/^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`);
  if (url === null || url.hostname === "") throw new Failure("invalid", `${variable}: ${EXPECTED}`);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new Failure("invalid", `${variable}: a proxy by ${url.protocol}// is not offered; ${EXPECTED}`);
  }
  const secure = url.protocol === "https:";
  const hostname = bare(url.hostname);
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  const host = `${url.hostname}:${port}`;
  return { variable, secure, hostname, port, host, authorization: authorizationOf(variable, url) };
}

const EXPECTED = "expected [http(s)://][user:password@]host[:port], user and password percent-encoded";

function authorizationOf(variable: string, { username, password }: URL): string | undefined {
  if (username === "" && password === "") return undefined;
  try {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    return `Basic ${Buffer.from(pair).toString("base64")}`;
  } catch {
    // Its own words would hold the password.
    throw new Failure("invalid", `${variable}: ${EXPECTED}`);
  }
}
