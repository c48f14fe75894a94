/** The in-memory store keeps the same promises as the one on disk. */
import { describeBlobStore } from "./blobstore.ts";
import { MemoryStore } from "./memory-store.ts";

describeBlobStore("memory", async () => {
  const store = new MemoryStore();
  return {
    store,
    mark: store.mark,
    leftovers: async () => (store.unended === 0 ? [] : [`${store.unended} unended`]),
    [Symbol.asyncDispose]: async () => store.clear(),
  };
});
