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
  return new DockerLogin(accountOf(await watched.value()), watched, surroundings);
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

  constructor(account: string, watched: WatchedFile<DockerChoice>, surroundings: CredentialSurroundings) {
    this.account = account;
    this.#watched = watched;
    this.#surroundings = surroundings;
  }

  async hold(asking: Asking): Promise<Held | undefined> {
    const { program, held } = await this.#watched.value();
    if (program === undefined) return held;
    return (await this.#sourceOf(program).hold(asking)) ?? held;
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
