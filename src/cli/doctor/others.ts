/**
 * Do podman and its kin, BuildKit, and k3s know the mirror? containers-registries.conf(5), BuildKit's docs/buildkitd.toml.md,
 * docs.k3s.io/installation/private-registry.
 */
import { readDocument } from "../../config/document.ts";
import { DOCKER_HUB } from "../../config/registry-name.ts";
import type { Files, FoundFile } from "./files.ts";
import { type Finding, fail, ok, skipped, warn } from "./finding.ts";
import { findNamed, type MirrorPlace, mentions, pathFault, registryFault, schemeFault } from "./place.ts";
import { judgeToml, readToml } from "./toml.ts";
import { entriesOf, itemsOf, valueAt } from "./tree.ts";

const REGISTRIES_CONF = "/etc/containers/registries.conf";
const BUILDKITD = "/etc/buildkit/buildkitd.toml";
const K3S = "/etc/rancher/k3s/registries.yaml";

/** Each `[[registry]]` is followed by its `[[registry.mirror]]` tables; the location has no scheme. */
export function lookAtPodman(files: Files, mirror: MirrorPlace): readonly Finding[] {
  const check = "podman";
  const dropIns = files.list(`${REGISTRIES_CONF}.d`).filter((name) => name.endsWith(".conf"));
  const paths = [REGISTRIES_CONF, ...dropIns.map((name) => `${REGISTRIES_CONF}.d/${name}`)];
  const found = paths.map((path) => files.find(path)).filter((file) => file !== undefined);
  // One that is no TOML keeps podman from everything.
  const broken = found.flatMap((file) => judgeToml(check, file));
  const speaking = found.filter((file) => file.fault === undefined && mentions(mirror, file.text));
  const judged = speaking.flatMap((file) => judgePodman(check, file, mirror));
  if (broken.length + judged.length > 0) return [...broken, ...judged];
  const where = files.pathOf(REGISTRIES_CONF);
  return [skipped(check, found.length === 0 ? `no ${where}` : `${where}(.d) does not name the mirror`)];
}

function judgePodman(check: string, { path, text }: FoundFile, mirror: MirrorPlace): readonly Finding[] {
  const { value } = readToml(text);
  if (value === undefined) return [];
  const mirrors = itemsOf(valueAt(value, "registry")).flatMap((one) =>
    itemsOf(valueAt(one, "mirror")).map((settings) => ({
      registry: String(valueAt(one, "prefix") ?? valueAt(one, "location") ?? ""),
      location: String(valueAt(settings, "location") ?? ""),
      insecure: valueAt(settings, "insecure") === true,
    })),
  );
  const findings: Finding[] = [];
  for (const { registry, location, insecure } of mirrors) {
    const named = findNamed(mirror, location);
    if (named === undefined) continue;
    const name = registry.split("/")[0] ?? "";
    const next = podmanSnippet(mirror, name);
    const wrong = named.bare
      ? (pathFault({ path: `/v2${named.url.pathname.replace(/\/+$/, "")}`, registry: name, sendsNs: false }) ??
        registryFault(mirror, name))
      : "says http:// or https://, which a location has not";
    if (wrong !== undefined) findings.push(fail(check, `${path} ${wrong}`, next));
    else if (!mirror.secure && !insecure) {
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
  const { value, fault } = readToml(file.text);
  if (fault !== undefined) return judgeToml(check, file);
  if (!mentions(mirror, file.text)) return [skipped(check, `${file.path} does not name the mirror`)];
  const byHttp = valueAt(value, "registry", mirror.host, "http") === true;
  const findings = entriesOf(valueAt(value, "registry")).flatMap(([registry, settings]): Finding[] => {
    const named = itemsOf(valueAt(settings, "mirrors"))
      .map((one) => findNamed(mirror, String(one)))
      .find((one) => one !== undefined);
    if (named === undefined) return [];
    const next = buildKitSnippet(mirror, registry);
    const path = `/v2${named.url.pathname.replace(/\/+$/, "").replace(/^\/v2(?=\/|$)/, "")}`;
    const wrong = pathFault({ path, registry, sendsNs: true }) ?? registryFault(mirror, registry);
    if (wrong !== undefined) return [fail(check, `${file.path} ${wrong}`, next)];
    if (!mirror.secure && !byHttp && !mirror.loopback) {
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
  const findings = entriesOf(valueAt(value, "mirrors")).flatMap(([registry, settings]): Finding[] => {
    const named = itemsOf(valueAt(settings, "endpoint"))
      .map((one) => findNamed(mirror, String(one)))
      .find((one) => one !== undefined);
    if (named === undefined) return [];
    const path = named.url.pathname.replace(/\/+$/, "");
    const wrong =
      (named.bare ? bareFault(mirror) : schemeFault(mirror, named.url)) ??
      pathFault({
        path: path === "" ? "/v2" : path,
        registry: registry === "*" ? undefined : registry,
        sendsNs: true,
      }) ??
      registryFault(mirror, registry === "*" ? undefined : registry);
    if (wrong !== undefined) return [fail(check, `${file.path} ${wrong}`, k3sSnippet(mirror, registry))];
    return [ok(check, `${file.path} names the mirror, for ${registry === "*" ? "every registry" : registry}`)];
  });
  if (findings.length > 0) return findings;
  const says = `${file.path} mentions ${mirror.host}, but as no mirror's endpoint`;
  return [warn(check, says, k3sSnippet(mirror, DOCKER_HUB))];
}

/** k3s takes an endpoint without a scheme for one over TLS. */
function bareFault(mirror: MirrorPlace): string | undefined {
  if (mirror.secure) return undefined;
  return "names the mirror without http://, which means https://, but the mirror is at http://";
}

function k3sSnippet(mirror: MirrorPlace, registry: string): string {
  return `put into ${K3S}, then restart k3s:\nmirrors:\n  "${registry}":\n    endpoint: ["${mirror.url.origin}"]`;
}
