/** The index in SQLite owes what every index owes. */
import type { Clock } from "../../src/base/clock.ts";
import { Graph } from "../../src/meta/graph.ts";
import { Holdings } from "../../src/meta/holdings.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { openIndex } from "../../src/meta/recovery.ts";
import { Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { Usage } from "../../src/meta/usage.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { describeIndex, type IndexRooms } from "../contracts/index.ts";
import { makeTempDir } from "../kit/temp.ts";

function open(directory: string, shared: boolean, clock: Clock) {
  const index = openIndex(directory, shared);
  const { database } = index;
  const repositories = new Repositories(database);
  const tags = new Tags(database, repositories);
  const inventory = new Inventory(database);
  const rooms: IndexRooms = {
    ...{ repositories, tags, inventory },
    graph: new Graph(database, repositories),
    holdings: new Holdings(database, { inventory, tags, repositories }),
    usage: new Usage(database, clock),
  };
  return { index, rooms };
}

for (const shared of [false, true]) {
  describeIndex(`the index in SQLite${shared ? ", shared" : ""}`, async (clock) => {
    const dir = await makeTempDir("index");
    let opened = open(dir.path, shared, clock);
    return {
      get rooms() {
        return opened.rooms;
      },
      hold(digest: Digest, held: boolean) {
        opened.index.database.prepare("UPDATE blobs SET held = ? WHERE digest = ?").run(held ? 1 : 0, digest);
      },
      reopen() {
        opened.index.close();
        opened = open(dir.path, shared, clock);
      },
      async [Symbol.asyncDispose]() {
        opened.index.close();
        await dir[Symbol.asyncDispose]();
      },
    };
  });
}
