/**
 * Does containerd know the mirror? `certs.d/<registry>/hosts.toml` (github.com/containerd/containerd, docs/hosts.md), and whether
 * `config.toml` has CRI look there.
 *
 * containerd appends `/v2` to a host's path unless that ends so already or `override_path` says not to, and adds `?ns=`.
 */
import { DOCKER_HUB } from "../../config/registry-name.ts";
import type { Files, FoundFile } from "./files.ts";
import { type Finding, fail, ok, skipped, warn } from "./finding.ts";
import { findNamed, type MirrorPlace, mentions, pathFault, registryFault, schemeFault } from "./place.ts";
import { judgeToml, readToml } from "./toml.ts";
import { entriesOf, itemsOf, valueAt } from "./tree.ts";

const CONFIG = "/etc/containerd/config.toml";
const HOSTS = "/etc/containerd/certs.d";

export function lookAtContainerd(files: Files, mirror: MirrorPlace): readonly Finding[] {
  const found = lookAtHosts(files, mirror, "containerd", HOSTS);
  const named = found.some(({ state }) => state !== "skipped");
  return [...found, ...lookAtConfig(files, mirror, named)];
}

/** One finding for each `hosts.toml` that speaks of the mirror. */
export function lookAtHosts(files: Files, mirror: MirrorPlace, check: string, directory: string): readonly Finding[] {
  const findings: Finding[] = [];
  let seen = 0;
  for (const registry of files.list(directory)) {
    const file = files.find(`${directory}/${registry}/hosts.toml`);
    if (file === undefined) continue;
    seen += 1;
    if (file.fault !== undefined) {
      findings.push(warn(check, `${file.path}: ${file.fault}`, "run doctor as a user that may read it"));
    } else if (mentions(mirror, file.text)) findings.push(judgeHosts(file, registry, mirror, check));
  }
  if (findings.length > 0) return findings;
  const where = files.pathOf(directory);
  return [
    skipped(check, seen === 0 ? `no ${where}/*/hosts.toml` : `none of ${seen} hosts.toml in ${where} names the mirror`),
  ];
}

function judgeHosts(file: FoundFile, registry: string, mirror: MirrorPlace, check: string): Finding {
  const { path } = file;
  const [broken] = judgeToml(check, file);
  if (broken !== undefined) return broken;
  const { value } = readToml(file.text);
  const snippet = hostsSnippet(mirror, registry);
  // A table without a key is a host with all defaults.
  for (const [host, settings] of entriesOf(valueAt(value, "host"))) {
    const named = findNamed(mirror, host);
    if (named === undefined) continue;
    const override = valueAt(settings, "override_path") === true;
    const scheme = named.bare ? undefined : schemeFault(mirror, named.url);
    const wrong =
      scheme ??
      pathFault({ path: apiPath(named.url, override), registry: nameOf(registry), sendsNs: true }) ??
      registryFault(mirror, nameOf(registry));
    if (wrong !== undefined) return fail(check, `${path} ${wrong}`, snippet);
    const lacks = lacking(valueAt(settings, "capabilities"));
    if (lacks !== undefined) return warn(check, `${path}: ${lacks}`, snippet);
    if (mirror.secure && valueAt(settings, "skip_verify") === true) {
      return warn(
        check,
        `${path}: skip_verify lets anybody in between`,
        `put ca = "/path/of/ca.crt" in the place of skip_verify`,
      );
    }
    return ok(check, `${path} names the mirror, for ${registry === "_default" ? "every registry" : nameOf(registry)}`);
  }
  const server = valueAt(value, "server");
  if (typeof server === "string" && findNamed(mirror, server) !== undefined) {
    const missing = registryFault(mirror, nameOf(registry));
    if (missing !== undefined) return fail(check, `${path} ${missing}`, snippet);
    return ok(check, `${path} has the mirror as its only server`);
  }
  return warn(check, `${path} mentions ${mirror.host}, but in no [host."…"] table`, snippet);
}

function apiPath(url: URL, override: boolean): string {
  const path = url.pathname.replace(/\/+$/, "");
  return override || path.endsWith("/v2") ? path : `${path}/v2`;
}

function lacking(capabilities: unknown): string | undefined {
  if (!Array.isArray(capabilities)) return undefined;
  const missing = ["pull", "resolve"].filter((one) => !capabilities.includes(one));
  return missing.length === 0 ? undefined : `capabilities lacks ${missing.map((one) => `"${one}"`).join(" and ")}`;
}

/** The directory's name: the registry, `_default` for any; a port may be written `_5000_`. */
function nameOf(directory: string): string | undefined {
  return directory === "_default" ? undefined : directory.replace(/_(\d{1,5})_$/, ":$1");
}

export function hostsSnippet(mirror: MirrorPlace, registry = DOCKER_HUB): string {
  const server = registry === DOCKER_HUB ? "https://registry-1.docker.io" : `https://${nameOf(registry) ?? ""}`;
  const first = registry === "_default" ? "" : `server = "${server}"\n`;
  return `put into ${HOSTS}/${registry}/hosts.toml:\n${first}[host."${mirror.url.origin}"]\n  capabilities = ["pull", "resolve"]`;
}

function lookAtConfig(files: Files, mirror: MirrorPlace, named: boolean): readonly Finding[] {
  const check = "containerd CRI";
  const file = files.find(CONFIG);
  if (file === undefined || file.fault !== undefined) return [];
  const { value, fault } = readToml(file.text);
  if (fault !== undefined) return judgeToml(check, file);
  const registries = entriesOf(valueAt(value, "plugins")).map(([, plugin]) => valueAt(plugin, "registry"));
  const isSet = registries.some((registry) => {
    const configured = valueAt(registry, "config_path");
    return typeof configured === "string" && configured.split(":").some((one) => one.replace(/\/+$/, "") === HOSTS);
  });
  const old = registries
    .flatMap((registry) => entriesOf(valueAt(registry, "mirrors")))
    .flatMap(([, settings]) => itemsOf(valueAt(settings, "endpoint")))
    .some((one) => findNamed(mirror, String(one)) !== undefined);
  const next = `put into ${CONFIG}, then systemctl restart containerd (containerd 1: plugins."io.containerd.grpc.v1.cri".registry):\n[plugins."io.containerd.cri.v1.images".registry]\n  config_path = "${HOSTS}"`;
  if (old) {
    const says = `${file.path} names the mirror under registry.mirrors, which containerd 2 no longer reads`;
    return [warn(check, says, `${hostsSnippet(mirror)}\nand ${next}`)];
  }
  if (!named) return [];
  if (isSet) return [ok(check, `${file.path} has config_path = ${HOSTS}`)];
  return [warn(check, `${file.path} has no config_path with ${HOSTS}, so Kubernetes may not look there`, next)];
}
