/** The index in memory owes what the real one owes. */
import { describeIndex } from "./index.ts";
import { MemoryIndex } from "./memory-index.ts";

describeIndex("the index in memory", async (clock) => new MemoryIndex(clock));
