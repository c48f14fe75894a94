/**
 * Do podman and its kin, BuildKit, and k3s know the mirror? containers-registries.conf(5), BuildKit's docs/buildkitd.toml.md,
 * docs.k3s.io/installation/private-registry.
 */
import { readDocument } from "../../config/document.ts";
import { DOCKER_HUB } from "../../config/registry-name.ts";
import type { Files, FoundFile } from "./files.ts";
import { type Finding, fail, ok, skipped, warn } from "./finding.ts";
import { findNamed, type MirrorPlace, mentions, pathFault, schemeFault } from "./place.ts";
import { readToml, type TomlValue, tablesOf } from "./toml.ts";

const REGISTRIES_CONF = "/etc/containers/registries.conf";
const BUILDKITD = "/etc/buildkit/buildkitd.toml";
const K3S = "/etc/rancher/k3s/registries.yaml";

/** Each `[[registry]]` is followed by its `[[registry.mirror]]` tables; the location has no scheme. */
export function lookAtPodman(files: Files, mirror: MirrorPlace): readonly Finding[] {
  const check = "podman";
  const dropIns = files.list(`${REGISTRIES_CONF}.d`).filter((name) => name.endsWith(".conf"));
  const paths = [REGISTRIES_CONF, ...dropIns.map((name) => `${REGISTRIES_CONF}.d/${name}`)];
  const found = paths.map((path) => files.find(path)).filter((file) => file !== undefined);
  const speaking = found.filter((file) => file.fault === undefined && mentions(mirror, file.text));
  if (speaking.length > 0) return speaking.flatMap((file) => judgePodman(check, file, mirror));
  const where = files.pathOf(REGISTRIES_CONF);
  return [skipped(check, found.length === 0 ? `no ${where}` : `${where}(.d) does not name the mirror`)];
}

function judgePodman(check: string, { path, text }: FoundFile, mirror: MirrorPlace): readonly Finding[] {
  const findings: Finding[] = [];
  let registry = "";
  for (const { path: table, values } of tablesOf(readToml(text), "registry")) {
    const location = String(values.get("location") ?? "");
    if (table.length === 1) registry = String(values.get("prefix") ?? location);
    if (table[1] !== "mirror") continue;
    const named = findNamed(mirror, location);
    if (named === undefined) continue;
    const name = registry.split("/")[0] ?? "";
    const next = podmanSnippet(mirror, name);
    const wrong = named.bare
      ? pathFault({ path: `/v2${named.url.pathname.replace(/\/+$/, "")}`, registry: name, sendsNs: false })
      : "says http:// or https://, which a location has not";
    if (wrong !== undefined) findings.push(fail(check, `${path} ${wrong}`, next));
    else if (!mirror.secure && values.get("insecure") !== true) {
      findings.push(fail(check, `${path}: without insecure = true podman asks ${mirror.host} over TLS`, next));
    } else findings.push(ok(check, `${path} names the mirror, for ${name}`));
  }
  if (findings.length > 0) return findings;
  const says = `${path} mentions ${mirror.host}, but as no [[registry.mirror]]`;
  return [warn(check, says, podmanSnippet(mirror, DOCKER_HUB))];
}

function podmanSnippet(mirror: MirrorPlace, registry: string): string {
  const insecure = mirror.secure ? "" : "\ninsecure = true";
  return `put into ${REGISTRIES_CONF}.d/mirror.conf:\n[[registry]]\nprefix = "${registry}"\nlocation = "${registry}"\n[[registry.mirror]]\nlocation = "${mirror.host}/${registry}"${insecure}`;
}

export function lookAtBuildKit(files: Files, mirror: MirrorPlace): readonly Finding[] {
  const check = "buildkit";
  const file = files.find(BUILDKITD);
  if (file === undefined) return [skipped(check, `no ${files.pathOf(BUILDKITD)}`)];
  if (!mentions(mirror, file.text)) return [skipped(check, `${file.path} does not name the mirror`)];
  const tables = tablesOf(readToml(file.text), "registry");
  const own = tables.find(({ path }) => path[1] === mirror.host)?.values ?? new Map<string, TomlValue>();
  const findings = tables.flatMap(({ path: [, registry = ""], values }): Finding[] => {
    const mirrors = values.get("mirrors");
    const named = (Array.isArray(mirrors) ? mirrors : [])
      .map((one: string) => findNamed(mirror, one))
      .find((one) => one !== undefined);
    if (named === undefined) return [];
    const next = buildKitSnippet(mirror, registry);
    const path = `/v2${named.url.pathname.replace(/\/+$/, "").replace(/^\/v2(?=\/|$)/, "")}`;
    const wrong = pathFault({ path, registry, sendsNs: true });
    if (wrong !== undefined) return [fail(check, `${file.path} ${wrong}`, next)];
    if (!mirror.secure && own.get("http") !== true && !mirror.loopback) {
      return [fail(check, `${file.path}: without http = true BuildKit asks ${mirror.host} over TLS`, next)];
    }
    return [ok(check, `${file.path} names the mirror, for ${registry}`)];
  });
  if (findings.length > 0) return findings;
  const says = `${file.path} mentions ${mirror.host}, but among no registry's mirrors`;
  return [warn(check, says, buildKitSnippet(mirror, DOCKER_HUB))];
}

function buildKitSnippet(mirror: MirrorPlace, registry: string): string {
  const http = mirror.secure ? "" : `\n[registry."${mirror.host}"]\n  http = true`;
  return `put into ${BUILDKITD}, then restart buildkitd:\n[registry."${registry}"]\n  mirrors = ["${mirror.host}"]${http}`;
}

/** k3s makes a hosts.toml of it, with override_path where the path ends in anything but /v2. */
export function lookAtK3s(files: Files, mirror: MirrorPlace): readonly Finding[] {
  const check = "k3s";
  const file = files.find(K3S);
  if (file === undefined) return [skipped(check, `no ${files.pathOf(K3S)}`)];
  const { value, faults } = readDocument(file.text);
  const [fault] = faults;
  if (fault !== undefined) {
    const line = fault.line === undefined ? "" : `:${fault.line}`;
    return [
      fail(check, `${file.path}${line} is no YAML: ${fault.message}`, "k3s does not start with it; mend it there"),
    ];
  }
  if (!mentions(mirror, file.text)) return [skipped(check, `${file.path} does not name the mirror`)];
  const findings = entriesOf(entriesOf(value).find(([key]) => key === "mirrors")?.[1]).flatMap(
    ([registry, settings]): Finding[] => {
      const endpoints: unknown = entriesOf(settings).find(([key]) => key === "endpoint")?.[1];
      const named = (Array.isArray(endpoints) ? endpoints : [])
        .map((one: unknown) => findNamed(mirror, String(one)))
        .find((one) => one !== undefined);
      if (named === undefined) return [];
      const path = named.url.pathname.replace(/\/+$/, "");
      const wrong =
        (named.bare ? undefined : schemeFault(mirror, named.url)) ??
        pathFault({
          path: path === "" ? "/v2" : path,
          registry: registry === "*" ? undefined : registry,
          sendsNs: true,
        });
      if (wrong !== undefined) return [fail(check, `${file.path} ${wrong}`, k3sSnippet(mirror, registry))];
      return [ok(check, `${file.path} names the mirror, for ${registry === "*" ? "every registry" : registry}`)];
    },
  );
  if (findings.length > 0) return findings;
  const says = `${file.path} mentions ${mirror.host}, but as no mirror's endpoint`;
  return [warn(check, says, k3sSnippet(mirror, DOCKER_HUB))];
}

function k3sSnippet(mirror: MirrorPlace, registry: string): string {
  return `put into ${K3S}, then restart k3s:\nmirrors:\n  "${registry}":\n    endpoint: ["${mirror.url.origin}"]`;
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? Object.entries(value) : [];
}
