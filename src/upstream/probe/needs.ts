/**
 * What a credential needs of this machine and does not find: a helper program in PATH, a cloud's package. Only looked for,
 * never run or loaded.
 */
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { isFailure } from "../../base/failure.ts";
import type { CredentialForm } from "../../config/credential.ts";
import { chooseFromDockerConfig } from "../credentials/docker-config.ts";

type Environment = Readonly<Record<string, string | undefined>>;

export interface NeedsOptions {
  readonly endpoint: URL;
  readonly env: Environment;
  /** Throws where the package is not there. */
  readonly resolve?: (name: string) => unknown;
}

/** What is missing, with the next step; empty where all is there. @param upstream its name */
export function findMissing(upstream: string, form: CredentialForm, options: NeedsOptions): readonly string[] {
  const { env, resolve = (name: string) => import.meta.resolve(name) } = options;
  const program = programOf(upstream, form, options.endpoint);
  const missing =
    program === undefined || isInPath(program, env)
      ? []
      : [`${upstream}: the program ${program} is not there: it must be in a directory of PATH`];
  const packages = packagesOf(form).filter((name) => !isThere(name, resolve));
  return [
    ...missing,
    ...packages.map(
      (name) =>
        `${upstream}: its credentials need the package ${name}, which is not installed; run npm install ${name}`,
    ),
  ];
}

function packagesOf(form: CredentialForm): readonly string[] {
  switch (form.type) {
    case "ecr":
      return ["@aws-sdk/client-ecr", ...(form.roleArn === undefined ? [] : ["@aws-sdk/credential-providers"])];
    case "ecrPublic":
      return ["@aws-sdk/client-ecr-public"];
    case "google":
      return ["google-auth-library"];
    case "azure":
      return ["@azure/identity"];
    default:
      return [];
  }
}

function programOf(upstream: string, form: CredentialForm, endpoint: URL): string | undefined {
  if (form.type === "helper") return `docker-credential-${form.name}`;
  if (form.type !== "dockerConfig") return undefined;
  try {
    const { program } = chooseFromDockerConfig(readFileSync(form.file), upstream, endpoint);
    return program === undefined ? undefined : `docker-credential-${program.name}`;
  } catch (error) {
    // What is wrong with the file is told where it is opened.
    if (isFailure(error) || (error instanceof Error && "syscall" in error)) return undefined;
    throw error;
  }
}

function isInPath(program: string, env: Environment): boolean {
  return (env["PATH"] ?? "").split(delimiter).some((directory) => {
    try {
      accessSync(join(directory === "" ? "." : directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function isThere(name: string, resolve: (name: string) => unknown): boolean {
  try {
    resolve(name);
    return true;
  } catch {
    return false;
  }
}
