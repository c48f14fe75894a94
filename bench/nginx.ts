/**
 * nginx as the yardstick for sending files, and as a stand-in for the origin: one process, sendfile, the library's
 * files under the paths of a registry.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePort } from "../test/e2e/processes.ts";
import { get } from "../test/kit/http.ts";
import { Daemon } from "./daemon.ts";
import type { Library, LibraryManifest } from "./library.ts";
import { needProgram } from "./programs.ts";
import type { Certificate } from "./secure.ts";
import { registryPaths, type Served } from "./served.ts";

export interface NginxOptions {
  readonly name: string;
  readonly dir: string;
  readonly library: Library;
  /** How tables call it; default nginx. */
  readonly label?: string;
  /** Default false: as fast as it gets. */
  readonly accessLog?: boolean;
  /** TLS with HTTP/1.1 and HTTP/2 instead of plain HTTP. */
  readonly tls?: Certificate;
  readonly core?: number | undefined;
}

/** @throws MissingProgram. */
export async function startNginx(options: NginxOptions): Promise<Served> {
  const command = needProgram("nginx");
  const port = await freePort();
  // The check for readiness is plain HTTP, whatever is measured.
  const readyPort = await freePort();
  const home = join(options.dir, options.name);
  await mkdir(home, { recursive: true });
  const file = join(home, "nginx.conf");
  await writeFile(file, configuration(home, port, readyPort, options));
  const args = ["-p", home, "-c", file, "-e", "stderr"];
  const daemon = new Daemon({ name: options.name, dir: options.dir, command, args, core: options.core });
  await daemon.until(async () => (await get(`http://127.0.0.1:${readyPort}/`)).status === 200);
  const paths = { ...registryPaths, manifestPath: plainPath };
  return { ...paths, name: options.label ?? "nginx", daemon, port, pullsThrough: false, settled: async () => {} };
}

/** Where nginx serves a manifest as a plain file, with no regular expression on the way. */
function plainPath(manifest: LibraryManifest): string {
  return `/files/${manifest.file.split("/").slice(-3).join("/")}`;
}

function configuration(home: string, port: number, readyPort: number, options: NginxOptions): string {
  const { library, accessLog = false, tls } = options;
  const root = join(library.root, "docker/registry/v2");
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((of) => `${of}_temp_path ${home}/${of};`);
  const secure =
    tls === undefined
      ? ""
      : `ssl_certificate ${tls.cert};
    ssl_certificate_key ${tls.key};
    ssl_protocols TLSv1.2 TLSv1.3;`;
  return `
daemon off;
# One process: its processor time is all there is.
master_process off;
worker_processes 1;
pid ${home}/nginx.pid;
events { worker_connections 4096; }
http {
  ${temp.join("\n  ")}
  access_log ${accessLog ? "/dev/stdout" : "off"};
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 130;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  server { listen 127.0.0.1:${readyPort}; access_log off; return 200; }
  server {
    listen 127.0.0.1:${port}${tls === undefined ? "" : " ssl http2"};
    ${secure}
    location = /v2/ { return 200; }
    location /files/ { alias ${root}/blobs/sha256/; }
    location ~ "^/v2/.+/blobs/sha256:([0-9a-f][0-9a-f])([0-9a-f]+)$" {
      alias ${root}/blobs/sha256/$1/$1$2/data;
    }
    location ~ "^/v2/(.+)/manifests/([^/:]+)$" {
      default_type application/vnd.oci.image.manifest.v1+json;
      alias ${root}/repositories/$1/_manifests/tags/$2/data;
    }
  }
}
`;
}
