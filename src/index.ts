/**
 * The library entry: a mirror inside another program.
 *
 *     import { createMirror, loadConfig } from "wharfinger";
 *     const mirror = await createMirror(loadConfig({ file: "wharfinger.yaml" }), { log: false });
 *     const { registry } = await mirror.start();
 *     await mirror.stop({ graceMs: 30_000 });
 */
export { createMirror, type Mirror, type MirrorOptions } from "./app.ts";
export { Failure, type FailureKind, isFailure } from "./base/failure.ts";
export { loadConfig } from "./config/load.ts";
export type { Config } from "./config/schema.ts";
export type { MirrorNotices } from "./mirror/notices.ts";
