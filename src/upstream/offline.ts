/**
 * An upstream that is never asked: `offline: true`. Opens no connection and reads no file.
 */
import { Failure } from "../base/failure.ts";
import type { Upstream } from "./upstream.ts";

export function createOfflineUpstream(name: string): Upstream {
  const refuse = async (): Promise<never> => {
    throw new Failure("unreachable", `offline: ${name} is not contacted`);
  };
  return {
    name,
    headManifest: refuse,
    getManifest: refuse,
    headBlob: refuse,
    openBlob: refuse,
    listTags: refuse,
    listReferrers: refuse,
    budget: () => undefined,
    async close() {},
  };
}
