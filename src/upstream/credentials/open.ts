/**
 * A credential of the configuration, opened: files are read, so that a start fails where one is missing; nobody is asked,
 * no program is run and no package is loaded before the first request.
 */
import type { CredentialForm } from "../../config/credential.ts";
import { openAzure } from "./azure.ts";
import { ANONYMOUS, type CredentialSource } from "./credential.ts";
import { serverFor } from "./docker-config.ts";
import { openDockerConfig } from "./docker-login.ts";
import { openEcr, openEcrPublic } from "./ecr.ts";
import { openGoogle } from "./google.ts";
import { ProgramCredential } from "./program.ts";
import { run } from "./run.ts";
import { loadSdk } from "./sdk.ts";
import { openBasic, openToken } from "./secret.ts";
import type { CredentialSurroundings } from "./surroundings.ts";

/** What reaches outside may be left out: it is this process's environment, real programs and installed packages then. */
export type OpenSurroundings = Pick<CredentialSurroundings, "name" | "endpoint" | "clock"> &
  Partial<CredentialSurroundings>;

/** @throws Failure `invalid` where a file or variable cannot be read, or holds what cannot be used. */
export async function openCredential(form: CredentialForm, given: OpenSurroundings): Promise<CredentialSource> {
  const surroundings = { env: process.env, run, load: loadSdk, onTrouble: () => {}, ...given };
  switch (form.type) {
    case "basic":
      return await openBasic(form.username, form.secret, surroundings);
    case "token":
      return await openToken(form.secret, surroundings);
    case "dockerConfig":
      return await openDockerConfig(form.file, surroundings);
    case "helper":
      return new ProgramCredential(form.name, serverFor(given.name), surroundings);
    case "ecr":
      return openEcr(form, surroundings);
    case "ecrPublic":
      return openEcrPublic(surroundings);
    case "google":
      return await openGoogle(form.keyFile, surroundings);
    case "azure":
      return await openAzure(form, surroundings);
    case "anonymous":
      return ANONYMOUS;
  }
}
