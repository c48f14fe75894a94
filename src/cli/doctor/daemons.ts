/**
 * What the daemons of a machine are told of the mirror, all of them; and how to tell them where none is.
 */
import { DOCKER_HUB } from "../../config/registry-name.ts";
import { hostsSnippet, lookAtContainerd, lookAtHosts } from "./containerd.ts";
import { DAEMON_JSON, dockerSnippet, lookAtDocker } from "./docker.ts";
import type { Files } from "./files.ts";
import { type Finding, skipped, warn } from "./finding.ts";
import { lookAtBuildKit, lookAtK3s, lookAtPodman } from "./others.ts";
import { type MirrorPlace, placeOfMirror } from "./place.ts";

/** @param has undefined where there is no mirror: nobody is told to use it then. */
export function lookAtDaemons(files: Files, url: URL, has: MirrorPlace["has"] | undefined): readonly Finding[] {
  const mirror = placeOfMirror(url, has);
  const stores = lookAtHosts(files, mirror, "docker hosts", "/etc/docker/certs.d");
  const findings = [
    lookAtDocker(files, mirror),
    ...stores.filter(({ state }) => state !== "skipped"),
    ...lookAtContainerd(files, mirror),
    ...lookAtPodman(files, mirror),
    ...lookAtBuildKit(files, mirror),
    ...lookAtK3s(files, mirror),
  ];
  if (findings.some(({ state }) => state !== "skipped")) return findings;
  const says = `none of this machine's daemons is told of ${mirror.host}`;
  if (has === undefined) return [...findings, skipped("daemons", says)];
  // Docker asks mirrors for Docker Hub's images only.
  if (mirror.has(DOCKER_HUB) === false) return [...findings, warn("daemons", says, hostsSnippet(mirror, "_default"))];
  const docker = dockerSnippet(mirror, files.find(DAEMON_JSON) !== undefined);
  return [...findings, warn("daemons", says, `${docker}\nor ${hostsSnippet(mirror)}`)];
}
