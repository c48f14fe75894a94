/**
 * Images that run: a static busybox in several real layers, whose entry point prints a line that no layer alone knows.
 */
import { readFile } from "node:fs/promises";
import { seededBytes } from "../kit/content.ts";
import { type ImageFormat, makeImage, makeIndex, type TestImage, type TestIndex } from "../kit/image.ts";
import { makeTarLayer } from "../kit/tar.ts";
import { findProgram } from "./programs.ts";

export const EXPECTED_LINE = "hello from five layers";

/** Five layers of real files; the script in the last one reads those before it. */
export async function makeRunnableImage(format: ImageFormat, seed = 1): Promise<TestImage> {
  const busybox = await readFile(findProgram("busybox") ?? "/bin/busybox");
  const script = `#!/bin/sh\n[ -s /data/noise ] && [ -s /data/more ] && echo "$(cat /etc/greeting) $(cat /etc/rest)"\n`;
  const directories = [{ name: "bin/" }, { name: "etc/" }, { name: "data/" }, { name: "tmp/", mode: 0o1777 }];
  // Every layer carries the seed: images of different seeds share no blob, so what one costs can be counted.
  const mark = (layer: number) => ({ name: `data/mark-${layer}`, bytes: `${seed}` });
  const layers = [
    makeTarLayer([
      ...directories,
      mark(0),
      { name: "bin/busybox", bytes: busybox, mode: 0o755 },
      { name: "bin/sh", linkTo: "busybox" },
      { name: "bin/cat", linkTo: "busybox" },
    ]),
    makeTarLayer([
      { name: "etc/greeting", bytes: "hello from" },
      { name: "data/noise", bytes: seededBytes(5_000_000, seed) },
    ]),
    makeTarLayer([mark(2), { name: "data/more", bytes: seededBytes(300_000, seed) }]),
    makeTarLayer([mark(3), { name: "etc/rest", bytes: "five layers\n" }]),
    makeTarLayer([mark(4), { name: "bin/say", bytes: script, mode: 0o755 }]),
  ];
  return makeImage({ format, layers, seed, entrypoint: ["/bin/say"] });
}

/** The runnable image for amd64, and another for arm64 that nobody here runs. */
export async function makeRunnableIndex(format: ImageFormat, seed = 1): Promise<TestIndex> {
  const other = makeImage({
    format,
    seed: seed + 100,
    architecture: "arm64",
    layers: [
      makeTarLayer([
        { name: "etc/", mode: 0o755 },
        { name: "etc/arm", bytes: `arm ${seed}` },
      ]),
    ],
  });
  return makeIndex([await makeRunnableImage(format, seed), other], format);
}
