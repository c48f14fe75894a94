/** A front that does as its settings say, for tests of those who keep fronts. */
export interface Part {
  /** Ends as soon as it listens. */
  readonly dies?: boolean;
  /** Listens after so long. */
  readonly lateMs?: number;
  /** What it says it has counted; then it ends. Without, it never answers. */
  readonly counts?: unknown[];
}

let part: Part = {};

process.once("disconnect", () => process.exit(1));
process.on("message", (message: { post?: string; ask?: string; id?: number; value?: { settings: Part } }) => {
  if (message.post === "begin") {
    part = message.value?.settings ?? {};
    setTimeout(() => {
      process.send?.({ post: "listening" }, undefined, undefined, () => {
        if (part.dies) process.exit(3);
      });
    }, part.lateMs ?? 0);
  }
  if (message.post === "stop") process.exit(0);
  if (message.ask === "counts" && part.counts !== undefined) {
    process.send?.({ id: message.id, value: part.counts }, undefined, undefined, () => process.exit(4));
  }
});
