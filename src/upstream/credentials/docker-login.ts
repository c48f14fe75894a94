/**
 * What `docker login` left in a `config.json`, by way of a program where the file names one.
 *
 * The account is named after what the file says at start and keeps that name: limits are counted under it.
 */
import { accountName } from "./account.ts";
import type { Asking, CredentialSource, Held } from "./credential.ts";
import { chooseFromDockerConfig, type DockerChoice, MAX_DOCKER_CONFIG_BYTES } from "./docker-config.ts";
import { ProgramCredential } from "./program.ts";
import type { CredentialSurroundings } from "./surroundings.ts";
import { WatchedFile } from "./watched.ts";

/** @throws Failure `invalid` where the file cannot be read or understood */
export async function openDockerConfig(file: string, surroundings: CredentialSurroundings): Promise<CredentialSource> {
  const { clock, name, endpoint, onTrouble } = surroundings;
  const watched = await WatchedFile.open(file, {
    clock,
    maxBytes: MAX_DOCKER_CONFIG_BYTES,
    parse: (bytes) => chooseFromDockerConfig(bytes, name, endpoint),
    onTrouble: (message) => onTrouble(`${name}: ${message}`),
  });
  const choice = await watched.value();
  const login = new DockerLogin(accountOf(choice), watched, surroundings);
  login.note(choice);
  return login;
}

function accountOf({ program, held }: DockerChoice): string {
  if (program !== undefined) return accountName("helper", program.name);
  return held?.kind === "basic" ? accountName(held.username) : "docker-config";
}

class DockerLogin implements CredentialSource {
  readonly account: string;
  readonly #watched: WatchedFile<DockerChoice>;
  readonly #surroundings: CredentialSurroundings;
  #program: { readonly key: string; readonly source: ProgramCredential } | undefined;
  #closed = false;
  /** That there is nothing for us was told. */
  #told = false;

  constructor(account: string, watched: WatchedFile<DockerChoice>, surroundings: CredentialSurroundings) {
    this.account = account;
    this.#watched = watched;
    this.#surroundings = surroundings;
  }

  async hold(asking: Asking): Promise<Held | undefined> {
    const choice = await this.#watched.value();
    this.note(choice);
    const { program, held } = choice;
    if (program === undefined) return held;
    return (await this.#sourceOf(program).hold(asking)) ?? held;
  }

  /** Tells once that there is nothing for us in it, and again after there was. */
  note({ program, held }: DockerChoice): void {
    const isEmpty = program === undefined && held === undefined;
    const { name, onTrouble } = this.#surroundings;
    if (isEmpty && !this.#told) onTrouble(`${name}: docker-config has no entry for ${name}; pulling as anonymous`);
    this.#told = isEmpty;
  }

  refused(held: Held): void {
    this.#watched.lookAgain();
    this.#program?.source.refused(held);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#program?.source.close();
  }

  #sourceOf({ name, server }: { readonly name: string; readonly server: string }): ProgramCredential {
    const key = `${name} ${server}`;
    if (this.#program?.key === key) return this.#program.source;
    void this.#program?.source.close();
    this.#program = { key, source: new ProgramCredential(name, server, this.#surroundings) };
    if (this.#closed) void this.#program.source.close();
    return this.#program.source;
  }
}
