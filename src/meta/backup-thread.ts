/**
 * The thread that copies the index and reads the copy through.
 *
 * It reads the file of the index alone, without its journal and without locks, which is whole and stands still because
 * whoever has it open writes to the journal only, meanwhile. So nobody waits for it, and no damage replaces a good copy.
 */
import { backup, DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import { parentPort, workerData } from "node:worker_threads";

/** Between two steps the thread can be ended. */
const PAGES_AT_ONCE = 1000;

const { from, to } = workerData as { readonly from: string; readonly to: string };
const source = openStill(from);
await backup(source, to, { rate: PAGES_AT_ONCE });
source.close();
const copy = openStill(to);
const row = copy.prepare("PRAGMA quick_check(1)").get();
copy.close();
parentPort?.postMessage(String(row?.["quick_check"]));

function openStill(path: string): DatabaseSync {
  const url = pathToFileURL(path);
  url.searchParams.set("immutable", "1");
  return new DatabaseSync(url, { readOnly: true });
}
