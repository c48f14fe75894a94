/**
 * What the daemons of a machine are told of the mirror, all of them; and how to tell them where none is.
 */
import { hostsSnippet, lookAtContainerd, lookAtHosts } from "./containerd.ts";
import { dockerSnippet, lookAtDocker } from "./docker.ts";
import type { Files } from "./files.ts";
import { type Finding, warn } from "./finding.ts";
import { lookAtBuildKit, lookAtK3s, lookAtPodman } from "./others.ts";
import { placeOfMirror } from "./place.ts";

export function lookAtDaemons(files: Files, url: URL): readonly Finding[] {
  const mirror = placeOfMirror(url);
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
  return [...findings, warn("daemons", says, `${dockerSnippet(mirror)}\nor ${hostsSnippet(mirror)}`)];
}
