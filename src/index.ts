/**
 * The library entry: a mirror inside another program.
 *
 *     import { createMirror, loadConfig } from "wharfinger";
 *     const mirror = await createMirror(loadConfig({ file: "config.yaml" }), { version: "1", log: false });
 *     const { registry } = await mirror.start();
 */
export { createMirror, type Mirror, type MirrorOptions } from "./app.ts";
export { Failure, type FailureKind, isFailure } from "./base/failure.ts";
export { loadConfig } from "./config/load.ts";
export type { Config } from "./config/schema.ts";
export type { MirrorNotices } from "./mirror/notices.ts";
