/**
 * Work on a list, so many at a time. The first thing that goes wrong lets nothing further begin, and is thrown when
 * what was under way has ended: nothing goes on behind the caller's back.
 */
export async function eachOf<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, at: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  let failed = false;
  const worker = async () => {
    while (next < items.length && !failed) {
      const at = next;
      next += 1;
      const item = items[at];
      if (item === undefined) continue;
      try {
        await work(item, at);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const count = Math.min(Math.max(1, atOnce), items.length);
  const ended = await Promise.allSettled(Array.from({ length: count }, worker));
  const bad = ended.find((one) => one.status === "rejected");
  if (bad !== undefined) throw bad.reason;
}
