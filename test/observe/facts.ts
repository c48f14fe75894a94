/** An answered request to vary in tests. */
import type { AnsweredFact } from "../../src/mirror/notices.ts";

export function answeredFact(more: Partial<AnsweredFact> = {}): AnsweredFact {
  return {
    requestId: "r1",
    method: "GET",
    path: "/v2/library/alpine/manifests/latest",
    remoteAddress: "127.0.0.1",
    userAgent: "containerd/2.1.0",
    upstream: "docker.io",
    kind: "manifest",
    repository: "library/alpine",
    reference: "latest",
    status: 200,
    bytes: 1234,
    firstByteMs: 1.23456,
    totalMs: 2.34567,
    cache: "hit",
    aborted: false,
    error: undefined,
    ...more,
  };
}
