/**
 * The clients, each driven as its users would, each with all its state below one directory and nothing beyond loopback.
 *
 * What a bare machine without systemd needs: dockerd without bridge and iptables; containerd without the CRI plugin;
 * podman with cgroupfs, its events in a file and small limits (by itself it asks for more open files and processes than
 * a sandbox may have); containers without a network of their own. After a stop, whatever is still mounted below
 * the directory is unmounted, so that the directory can be removed.
 */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { attempt, run, Service } from "./processes.ts";
import { findProgram, type Program } from "./programs.ts";

/** A client that pulls `docker.io` through a mirror. */
export interface Client {
  /** Pulls `docker.io/library/…:tag`. @throws where it cannot. */
  pull(reference: string): Promise<void>;
  /** What the image prints. */
  run(reference: string): Promise<string>;
  /** Removes everything that was pulled, as if the client were new. */
  wipe(): Promise<void>;
  stop(): Promise<void>;
}

export interface ClientKind {
  readonly name: string;
  readonly programs: readonly Program[];
  start(dir: string, mirrorPort: number): Promise<Client>;
}

export const dockerd: ClientKind = {
  name: "dockerd",
  programs: ["dockerd", "docker", "containerd", "runc"],
  async start(dir, mirrorPort) {
    const socket = join(dir, "docker.sock");
    const docker = (...args: string[]) => run(path("docker"), ["-H", `unix://${socket}`, ...args], clientEnv(dir));
    const config = join(dir, "daemon.json");
    await writeFile(config, JSON.stringify({ "registry-mirrors": [`http://127.0.0.1:${mirrorPort}`] }));
    const begin = async () => {
      const service = new Service(
        "dockerd",
        path("dockerd"),
        [
          ...["--config-file", config, "--data-root", join(dir, "data"), "--exec-root", join(dir, "exec")],
          ...["-H", `unix://${socket}`, "--pidfile", join(dir, "docker.pid")],
          ...["--iptables=false", "--ip6tables=false", "--bridge=none"],
        ],
        { PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
      );
      const answers = async () => (await attempt(path("docker"), ["-H", `unix://${socket}`, "version"])).status === 0;
      await service.until(answers, 60_000);
      return service;
    };
    const end = async (service: Service) => {
      await service.stop();
      await unmountBelow(dir);
    };
    let service = await begin();
    return {
      async pull(reference) {
        await docker("pull", reference);
      },
      async run(reference) {
        return (await docker("run", "--rm", "--network", "none", reference)).stdout;
      },
      async wipe() {
        await end(service);
        await rm(join(dir, "data"), { recursive: true, force: true });
        service = await begin();
      },
      stop: () => end(service),
    };
  },
};

export const containerd: ClientKind = {
  name: "containerd",
  programs: ["containerd", "ctr", "runc"],
  async start(dir, mirrorPort) {
    const socket = join(dir, "containerd.sock");
    const hosts = join(dir, "certs.d");
    const ctr = (...args: string[]) => run(path("ctr"), ["-a", socket, ...args]);
    const mirror = `http://127.0.0.1:${mirrorPort}`;
    await mkdir(join(hosts, "docker.io"), { recursive: true });
    await writeFile(
      join(hosts, "docker.io", "hosts.toml"),
      `server = "${mirror}"\n[host."${mirror}"]\n  capabilities = ["pull", "resolve"]\n`,
    );
    const config = join(dir, "containerd.toml");
    await writeFile(
      config,
      [
        "version = 2",
        `root = "${join(dir, "root")}"`,
        `state = "${join(dir, "state")}"`,
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        "[grpc]",
        `  address = "${socket}"`,
        "",
      ].join("\n"),
    );
    const begin = async () => {
      const service = new Service("containerd", path("containerd"), ["--config", config], {
        PATH: `${process.env["PATH"]}:/usr/sbin:/sbin`,
      });
      await service.until(async () => (await attempt(path("ctr"), ["-a", socket, "version"])).status === 0, 60_000);
      return service;
    };
    const end = async (service: Service) => {
      await service.stop();
      await unmountBelow(dir);
    };
    let service = await begin();
    let runs = 0;
    return {
      async pull(reference) {
        await ctr("images", "pull", "--hosts-dir", hosts, reference);
      },
      async run(reference) {
        runs += 1;
        return (await ctr("run", "--rm", reference, `run-${process.pid}-${runs}`)).stdout;
      },
      async wipe() {
        await end(service);
        await rm(join(dir, "root"), { recursive: true, force: true });
        service = await begin();
      },
      stop: () => end(service),
    };
  },
};

export const podman: ClientKind = {
  name: "podman",
  programs: ["podman", "runc"],
  async start(dir, mirrorPort) {
    const registries = join(dir, "registries.conf");
    await writeFile(
      registries,
      [
        "[[registry]]",
        'prefix = "docker.io"',
        'location = "docker.io"',
        "[[registry.mirror]]",
        `location = "127.0.0.1:${mirrorPort}/docker.io"`,
        "insecure = true",
        "",
      ].join("\n"),
    );
    const policy = await writePolicy(dir);
    const globals = [
      ...["--root", join(dir, "root"), "--runroot", join(dir, "run"), "--tmpdir", join(dir, "tmp")],
      ...["--storage-driver", "overlay", "--events-backend", "file", "--cgroup-manager", "cgroupfs"],
      ...["--runtime", path("runc")],
    ];
    const invoke = (...args: string[]) =>
      run(path("podman"), [...globals, ...args], { env: { CONTAINERS_REGISTRIES_CONF: registries, HOME: dir } });
    return {
      async pull(reference) {
        await invoke("pull", "--signature-policy", policy, reference);
      },
      async run(reference) {
        const limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"];
        const options = ["--rm", "--network", "none", ...limits, "--pull", "never", "--log-driver", "none"];
        return (await invoke("run", ...options, reference)).stdout;
      },
      async wipe() {
        await invoke("system", "reset", "--force");
      },
      async stop() {
        await unmountBelow(dir);
      },
    };
  },
};

/** Copies with skopeo into `dir:` directories. */
export class Skopeo {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Copies one image, or all of an index, from a registry on loopback, as the bytes that it has. */
  async copy(registry: string, reference: string, name: string, options: { all?: boolean; login?: string } = {}) {
    const out = join(this.#dir, name);
    await rm(out, { recursive: true, force: true });
    const policy = await writePolicy(this.#dir);
    await run(path("skopeo"), [
      ...["--policy", policy, "copy", "--src-tls-verify=false", "--preserve-digests"],
      ...(options.all === true ? ["--all"] : []),
      ...(options.login === undefined ? [] : ["--src-creds", options.login]),
      `docker://${new URL(registry).host}/${reference}`,
      `dir:${out}`,
    ]);
    return out;
  }
}

function path(program: Program): string {
  return findProgram(program) ?? program;
}

/** Keeps the docker command away from the credentials and plugins of whoever runs the tests. */
function clientEnv(dir: string): { env: Record<string, string> } {
  return { env: { DOCKER_CONFIG: join(dir, "client"), HOME: dir } };
}

async function writePolicy(dir: string): Promise<string> {
  const file = join(dir, "policy.json");
  await writeFile(file, JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
  return file;
}

/** Deepest first, and again until none comes back: podman cleans up behind a container after its command has ended. */
async function unmountBelow(dir: string): Promise<void> {
  const deadline = performance.now() + 15_000;
  for (let calm = 0; calm < 2 && performance.now() < deadline; ) {
    const points = (await readFile("/proc/self/mounts", "utf8"))
      .split("\n")
      .map((line) => line.split(" ")[1] ?? "")
      .filter((point) => point.startsWith(`${dir}/`));
    for (const point of points.reverse()) await attempt("umount", ["--lazy", point]);
    calm = points.length === 0 ? calm + 1 : 0;
    await sleep(200);
  }
}
