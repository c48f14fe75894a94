/**
 * `wharfinger doctor`: looks at a mirror from the side of its clients, and at what this machine's daemons are told of it.
 *
 * Each check is one line, and what is not well has the next step with it. Changes nothing, and knows nothing of the
 * mirror's configuration unless it is given.
 */
import { isFailure } from "../base/failure.ts";
import { ConfigFaults, faultText } from "../config/faults.ts";
import type { Config } from "../config/schema.ts";
import type { Finding } from "./doctor/finding.ts";
import { type DoctorRequest, readDoctor } from "./doctor-options.ts";
import { EXIT, errorText, exitCodeOf } from "./exit.ts";
import type { Given } from "./flags.ts";
import { writeDocuments } from "./output.ts";
import { columns, plain } from "./wording.ts";
import type { World } from "./world.ts";

/** What `--json` writes. */
export interface DoctorReport {
  readonly format: "wharfinger-doctor/1";
  readonly version: string;
  readonly url: string;
  /** False where something failed. */
  readonly well: boolean;
  readonly findings: readonly Finding[];
}

const TIMEOUT_MS = 10_000;

/** @returns the exit code */
export async function doctor(given: Given, world: World): Promise<number> {
  let request: DoctorRequest | undefined;
  try {
    request = await readDoctor(given);
    const { loadConfig } = await import("../config/load.ts");
    const { file } = request;
    const config = file === undefined ? undefined : loadConfig({ file, env: world.env });
    const findings = await examine(request, config, world);
    const well = findings.every(({ state }) => state !== "fail");
    const report: DoctorReport = {
      format: "wharfinger-doctor/1",
      version: world.version,
      url: request.url.href,
      well,
      findings,
    };
    writeDocuments(request, { text: doctorText(report, request.quiet), json: report }, world);
    return well ? EXIT.done : EXIT.failed;
  } catch (error) {
    if (error instanceof ConfigFaults) {
      for (const fault of error.faults) world.stderr.write(`${faultText(fault)}\n`);
      return EXIT.badUsage;
    }
    const hint = request === undefined && isFailure(error, "invalid");
    const advice = hint ? "\nwharfinger doctor --help says what can be given" : "";
    world.stderr.write(`wharfinger: ${errorText(error)}${advice}\n`);
    return isFailure(error) ? exitCodeOf(error) : EXIT.failed;
  }
}

async function examine(request: DoctorRequest, config: Config | undefined, world: World): Promise<readonly Finding[]> {
  const { url, image, ca } = request;
  const { Files } = await import("./doctor/files.ts");
  const { Visitor } = await import("../load/visitor.ts");
  const { Served } = await import("./doctor/served.ts");
  const { DOCKER_HUB } = await import("../config/registry-name.ts");
  const { askReadiness, findHas, findServed, greet, tryImage } = await import("./doctor/mirror.ts");
  const { lookAtCertificate } = await import("./doctor/certificate.ts");
  const { lookAtDisk } = await import("./doctor/disk.ts");
  const { lookAtDaemons } = await import("./doctor/daemons.ts");
  const { BUILT_IN_UPSTREAMS, upstreamsOf } = await import("../config/schema.ts");
  const files = new Files(request.root);
  // Whether the certificate is trusted is a check of its own; the others are made all the same.
  const visitor = new Visitor({ tls: { ca, insecure: true }, timeoutMs: TIMEOUT_MS, version: world.version });
  const findings: Finding[] = [];
  let served: InstanceType<typeof Served> | undefined;
  try {
    const { findings: first, isMirror } = await greet(visitor, url, Date.now);
    findings.push(...first);
    if (url.protocol === "https:") findings.push(...(await lookAtCertificate(url, files, TIMEOUT_MS, Date.now(), ca)));
    if (isMirror) {
      const registries = config === undefined ? BUILT_IN_UPSTREAMS : [...upstreamsOf(config).keys()];
      const routing =
        image === undefined
          ? findServed(visitor, url, registries, config === undefined)
          : tryImage(visitor, url, image, config?.defaultUpstream);
      findings.push(...(await routing));
      // What the files name, then what the mirror says of it.
      served = new Served((registry) => findHas(visitor, url, registry));
      lookAtDaemons(files, url, (registry) => served?.has(registry));
      served.has(DOCKER_HUB);
      await served.learn();
      findings.push(await askReadiness(visitor, request.admin));
    } else findings.push({ check: "forms", state: "skipped", says: "there is no mirror to ask" });
  } finally {
    visitor.close();
  }
  if (config !== undefined) findings.push(...lookAtDisk(config.cache));
  else findings.push({ check: "disk", state: "skipped", says: "needs --config, on the mirror's machine" });
  const has = served === undefined ? undefined : (registry: string) => served?.has(registry);
  return [...findings, ...lookAtDaemons(files, url, has)];
}

function doctorText({ url, findings }: DoctorReport, quiet: boolean): string {
  const shown = quiet ? findings.filter(({ state }) => state === "warn" || state === "fail") : findings;
  if (quiet && shown.length === 0) return "";
  const lines = columns(
    shown.map(({ check, state, says }) => [`${state.padEnd(7)}  ${check}`, plain(says)] as const),
    "",
  );
  // The next step stands below its line; of what stands in files only, no control character survives `plain`.
  const text = shown.flatMap(({ next }, at) => [
    lines[at] ?? "",
    ...(next === undefined ? [] : next.split("\n").map((line) => `           ${plain(line)}`)),
  ]);
  const counts = (["ok", "warn", "fail", "skipped"] as const).flatMap((state) => {
    const count = findings.filter((one) => one.state === state).length;
    return count === 0 ? [] : [`${count} ${state}`];
  });
  return `${text.join("\n")}\n${quiet ? "" : `\n${plain(url)}: ${counts.join(", ")}\n`}`;
}
