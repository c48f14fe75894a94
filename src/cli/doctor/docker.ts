/**
 * Does dockerd know the mirror? `/etc/docker/daemon.json`, and `hosts.toml` of its containerd image store.
 */
import { DOCKER_HUB } from "../../config/registry-name.ts";
import type { Files } from "./files.ts";
import { type Finding, fail, ok, skipped, warn } from "./finding.ts";
import { findNamed, type MirrorPlace, mentions, pathFault, registryFault, schemeFault } from "./place.ts";
import { valueAt } from "./tree.ts";

export const DAEMON_JSON = "/etc/docker/daemon.json";
const CHECK = "docker";

export function lookAtDocker(files: Files, mirror: MirrorPlace): Finding {
  const file = files.find(DAEMON_JSON);
  if (file === undefined) return skipped(CHECK, `no ${files.pathOf(DAEMON_JSON)}`);
  const { path, text, fault } = file;
  if (fault !== undefined) return warn(CHECK, `${path}: ${fault}`, "run doctor as a user that may read it");
  const marked = text.startsWith("\uFEFF");
  let given: unknown;
  try {
    given = JSON.parse(marked ? text.slice(1) : text);
  } catch {
    const comment = /^\s*(?:\/\/|\/\*|#)/m.test(text) ? "; JSON has no comments" : "";
    return fail(
      CHECK,
      `${path} is no JSON, so dockerd does not start with it${comment}`,
      `dockerd --validate --config-file=${path} says where`,
    );
  }
  for (const key of ["registry-mirrors", "insecure-registries"]) {
    if (isList(given, key)) continue;
    const says = `${path} has "${key}" that is no list, so dockerd does not start with it`;
    return fail(CHECK, says, `write "${key}": ["…"]`);
  }
  const mirrors = listOf(given, "registry-mirrors");
  const named = mirrors.map((written) => findNamed(mirror, written)).find((one) => one !== undefined);
  if (named === undefined) {
    if (!mentions(mirror, text)) return skipped(CHECK, `${path} does not name the mirror`);
    return warn(CHECK, `${path} mentions ${mirror.host}, but not in "registry-mirrors"`, dockerSnippet(mirror, true));
  }
  if (marked)
    return warn(
      CHECK,
      `${path} begins with a byte order mark, which older dockerds refuse`,
      `sed -i '1s/^\\xEF\\xBB\\xBF//' ${path}`,
    );
  const { url, bare } = named;
  const wrong = bare
    ? "names the mirror without http:// or https://"
    : (schemeFault(mirror, url) ?? pathFault({ path: `${url.pathname}/v2`, registry: DOCKER_HUB, sendsNs: false }));
  if (wrong !== undefined) return fail(CHECK, `${path} ${wrong}`, dockerSnippet(mirror, true));
  const missing = registryFault(mirror, DOCKER_HUB);
  if (missing !== undefined) return fail(CHECK, `${path} ${missing}`, `dockerd asks its mirrors for Docker Hub only`);
  const insecure = listOf(given, "insecure-registries");
  if (!mirror.secure && !mirror.loopback && !insecure.some((one) => isFor(one, mirror))) {
    const says = `${path} names the mirror, which speaks plain HTTP, and not in "insecure-registries"`;
    return warn(CHECK, says, dockerSnippet(mirror, true));
  }
  return ok(CHECK, `${path} names the mirror, for Docker Hub's images`);
}

/** @param exists there is a file with other settings. */
export function dockerSnippet(mirror: MirrorPlace, exists = false): string {
  const isInsecure = !mirror.secure && !mirror.loopback;
  if (exists) {
    const also = isInsecure ? `, and "${mirror.host}" to "insecure-registries"` : "";
    return `add "${mirror.url.origin}" to "registry-mirrors" in ${DAEMON_JSON}${also}, then systemctl restart docker`;
  }
  const insecure = isInsecure ? `, "insecure-registries": ["${mirror.host}"]` : "";
  return `put into ${DAEMON_JSON}, then systemctl restart docker:\n{ "registry-mirrors": ["${mirror.url.origin}"]${insecure} }`;
}

/** A host, or a range of addresses that may well hold it: the latter is believed. */
function isFor(written: string, mirror: MirrorPlace): boolean {
  return written === mirror.host || written === mirror.url.hostname || /^[0-9a-f.:]+\/\d{1,3}$/i.test(written);
}

/** Or not there at all. */
function isList(given: unknown, key: string): boolean {
  const value = valueAt(given, key);
  return value === undefined || Array.isArray(value);
}

function listOf(given: unknown, key: string): string[] {
  if (typeof given !== "object" || given === null) return [];
  const value: unknown = Object.entries(given).find(([name]) => name === key)?.[1];
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === "string") : [];
}
