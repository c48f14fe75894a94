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

export interface Served {
  readonly daemon: Daemon;
  readonly port: number;
}

export interface NginxOptions {
  readonly name: string;
  readonly dir: string;
  readonly library: Library;
  /** Default false: as fast as it gets. */
  readonly accessLog?: boolean;
  readonly core?: number | undefined;
}

/** @throws MissingProgram. */
export async function startNginx(options: NginxOptions): Promise<Served> {
  const command = needProgram("nginx");
  const port = await freePort();
  const home = join(options.dir, options.name);
  await mkdir(home, { recursive: true });
  const file = join(home, "nginx.conf");
  await writeFile(file, configuration(home, port, options));
  const args = ["-p", home, "-c", file, "-e", "stderr"];
  const daemon = new Daemon({ name: options.name, dir: options.dir, command, args, core: options.core });
  await daemon.until(async () => (await get(`http://127.0.0.1:${port}/v2/`)).status === 200);
  return { daemon, port };
}

/** Where nginx serves a manifest as a plain file, with no regular expression on the way. */
export function plainPath(manifest: LibraryManifest): string {
  return `/files/${manifest.file.split("/").slice(-3).join("/")}`;
}

function configuration(home: string, port: number, { library, accessLog = false }: NginxOptions): string {
  const root = join(library.root, "docker/registry/v2");
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((of) => `${of}_temp_path ${home}/${of};`);
  return `
daemon off;
# One process: its processor time is all there is.
master_process off;
worker_processes 1;
pid ${home}/nginx.pid;
events { worker_connections 512; }
http {
  ${temp.join("\n  ")}
  access_log ${accessLog ? "/dev/stdout" : "off"};
  sendfile on;
  tcp_nopush on;
  keepalive_timeout 130;
  keepalive_requests 1000000000;
  default_type application/octet-stream;
  server {
    listen 127.0.0.1:${port};
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
