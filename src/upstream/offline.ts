/**
 * An upstream that is never asked: `offline: true`. Opens no connection and reads no file.
 *
 * What is asked of it is not stored, so it is not here: 404, which clients take at its word, where trouble with an
 * upstream would have them try again.
 */
import { Failure } from "../base/failure.ts";
import type { Upstream } from "./upstream.ts";

export function createOfflineUpstream(name: string): Upstream {
  const refusal = (code: string) => async (): Promise<never> => {
    throw new Failure("unknown", `offline: it is not stored here, and ${name} is not contacted`, { code });
  };
  return {
    name,
    headManifest: refusal("MANIFEST_UNKNOWN"),
    getManifest: refusal("MANIFEST_UNKNOWN"),
    headBlob: refusal("BLOB_UNKNOWN"),
    openBlob: refusal("BLOB_UNKNOWN"),
    listTags: refusal("NAME_UNKNOWN"),
    listReferrers: refusal("MANIFEST_UNKNOWN"),
    budget: () => undefined,
    async close() {},
  };
}
