/**
 * Google Artifact Registry: an access token of an hour at most, as the password of `oauth2accesstoken` (Artifact Registry
 * documentation, "Configure authentication to Artifact Registry for Docker").
 *
 * The token comes of a key file, whatever kind of key it holds, or of the application default credentials: the variable
 * GOOGLE_APPLICATION_CREDENTIALS, gcloud's own file, the metadata server.
 */
import { Failure } from "../../base/failure.ts";
import { accountName } from "./account.ts";
import { CloudCredential, type Given } from "./cloud.ts";
import type { Asking, CredentialSource, Held } from "./credential.ts";
import { askCloud, requireSdk } from "./sdk.ts";
import { requireToken } from "./secret.ts";
import type { CredentialSurroundings } from "./surroundings.ts";
import { WatchedFile } from "./watched.ts";

const SCOPES = ["https://www.googleapis.com/auth/cloud-platform"];
const MAX_KEY_BYTES = 64 * 1024;
/** Where it is not said how long a token is good. */
const UNKNOWN_LIFE_MS = 5 * 60_000;
const LOOKED_FOR =
  "there is no key file (set keyFile or GOOGLE_APPLICATION_CREDENTIALS), no login of gcloud, and no metadata server here";
const HTTP_TIMEOUT_MS = 10_000;

interface Key {
  readonly fields: Readonly<Record<string, unknown>>;
}

/** @throws Failure `invalid` where there is no key in the file */
export async function openGoogle(
  keyFile: string | undefined,
  surroundings: CredentialSurroundings,
): Promise<CredentialSource> {
  const { name, clock, onTrouble } = surroundings;
  if (keyFile === undefined) {
    return new CloudCredential("google:default", surroundings, ({ signal }) => ask(undefined, surroundings, signal));
  }
  const watched = await WatchedFile.open(keyFile, {
    clock,
    maxBytes: MAX_KEY_BYTES,
    parse: parseKey,
    onTrouble: (message) => onTrouble(`${name}: ${message}`),
  });
  return new KeyCredential(watched, await watched.value(), surroundings);
}

class KeyCredential implements CredentialSource {
  readonly account: string;
  readonly #watched: WatchedFile<Key>;
  readonly #cloud: CloudCredential;
  #key: Key;
  /** The one that what is held was obtained with. */
  #usedKey: Key | undefined;

  constructor(watched: WatchedFile<Key>, key: Key, surroundings: CredentialSurroundings) {
    this.account = accountOf(key);
    this.#watched = watched;
    this.#key = key;
    this.#cloud = new CloudCredential(this.account, surroundings, async ({ signal }) => {
      const used = this.#key;
      const given = await ask(used, surroundings, signal);
      this.#usedKey = used;
      return given;
    });
  }

  async hold(asking: Asking): Promise<Held> {
    this.#key = await this.#watched.value();
    if (this.#usedKey !== undefined && this.#usedKey !== this.#key) this.#cloud.outdated();
    return await this.#cloud.hold(asking);
  }

  refused(held: Held): void {
    this.#watched.lookAgain();
    this.#cloud.refused(held);
  }

  close(): Promise<void> {
    return this.#cloud.close();
  }
}

async function ask(
  key: Key | undefined,
  { name, clock, env, load }: CredentialSurroundings,
  signal: AbortSignal,
): Promise<Given> {
  const { GoogleAuth, Compute } = await requireSdk(load, "google-auth-library", name);
  const clientOptions = { transporterOptions: { timeout: HTTP_TIMEOUT_MS, signal } };
  // It keeps what it was given; a new one asks.
  const auth = new GoogleAuth({
    scopes: SCOPES,
    clientOptions,
    ...(key === undefined ? {} : { credentials: key.fields }),
  });
  // Its own look for a metadata server writes warnings to standard error, between the lines of the log. One is asked in any case.
  auth._checkIsGCE = async () => true;
  const { token, endsAt } = await askCloud(
    name,
    "Google",
    signal,
    async () => {
      const client = await auth.getClient().catch((error: unknown) => {
        if (key !== undefined || (env.GOOGLE_APPLICATION_CREDENTIALS ?? "") !== "") throw error;
        // Whether there is a metadata server is found out once in a process, and it may come up later than we do.
        return new Compute({ scopes: SCOPES, ...clientOptions });
      });
      const answer = await client.getAccessToken();
      return { token: answer.token, endsAt: client.credentials.expiry_date };
    },
    LOOKED_FOR,
  );
  if (typeof token !== "string" || !isToken(token)) {
    throw new Failure("unreachable", `${name}: Google answered something that is no access token`);
  }
  const held = { kind: "basic", username: "oauth2accesstoken", password: token } as const;
  return { held, lifeMs: typeof endsAt === "number" ? endsAt - clock.now() : UNKNOWN_LIFE_MS };
}

function isToken(text: string): boolean {
  try {
    return requireToken(text) === text;
  } catch {
    return false;
  }
}

/** @throws Failure `invalid`; its message goes behind the name of the file */
function parseKey(bytes: Buffer): Key {
  let key: unknown;
  try {
    key = JSON.parse(bytes.toString("utf8"));
  } catch {
    throw new Failure("invalid", "is not JSON");
  }
  if (typeof key !== "object" || key === null || !("type" in key) || typeof key.type !== "string") {
    throw new Failure("invalid", "holds no key of Google's: an object with a type");
  }
  return { fields: key as Record<string, unknown> };
}

/** By the service account, or by the kind of key. */
function accountOf({ fields }: Key): string {
  const email = fields.client_email;
  const isAddress = typeof email === "string" && /^[\w.+-]{1,64}@[\w.-]{1,100}$/.test(email);
  if (isAddress) return accountName("google", email);
  const type = typeof fields.type === "string" && /^[a-z_]{1,40}$/.test(fields.type) ? fields.type : "key";
  return accountName("google", type);
}
