/** The rooms of one index, opened together. */
import { openDatabase } from "../../src/meta/database.ts";
import { Graph } from "../../src/meta/graph.ts";
import { Inventory } from "../../src/meta/inventory.ts";
import { type Place, Repositories } from "../../src/meta/repositories.ts";
import { Tags } from "../../src/meta/tags.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import { makeTempDir } from "../kit/temp.ts";

export function openRooms(directory: string) {
  const database = openDatabase(directory);
  const repositories = new Repositories(database);
  return {
    database,
    repositories,
    tags: new Tags(database, repositories),
    graph: new Graph(database, repositories),
    inventory: new Inventory(database),
  };
}

export type Rooms = ReturnType<typeof openRooms>;

/** Runs the test with an index of its own; both are gone afterwards. */
export async function withRooms(work: (rooms: Rooms, directory: string) => void | Promise<void>): Promise<void> {
  await using dir = await makeTempDir("meta");
  const rooms = openRooms(dir.path);
  try {
    await work(rooms, dir.path);
  } finally {
    if (rooms.database.isOpen) rooms.database.close();
  }
}

export const place = (upstream: string, name: string): Place => ({ upstream, repository: parseRepository(name) });
export const digest = (text: string) => digestOf(Buffer.from(text));
