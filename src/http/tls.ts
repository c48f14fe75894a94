/**
 * What the listener shows of itself over TLS, and what it asks of clients; kept up to date with the files.
 *
 * The files are read again every few seconds and compared by what they hold: an orchestrator that swaps symlinks, an
 * editor, or a copy in two steps all look the same. New connections get the new certificate and open ones go on. What
 * cannot be used (half a file, a key without its certificate yet) changes nothing and is told once.
 */
import type { TLSSocket, Server as TlsServer } from "node:tls";
import type { Clock } from "../base/clock.ts";
import { Failure, messageOf } from "../base/failure.ts";
import type { Emitter } from "../base/notices.ts";
import type { MirrorNotices } from "../mirror/notices.ts";
import {
  findMaterial,
  isSameTexts,
  type Material,
  makeMaterial,
  oddityOf,
  readTexts,
  type TlsSettings,
  type TlsTexts,
} from "./tls-material.ts";
import { TlsSessions } from "./tls-sessions.ts";

const RELOAD_EVERY_MS = 5000;

export interface TlsSurroundings {
  readonly clock: Clock;
  readonly notices: Emitter<MirrorNotices>;
}

export class Certificates {
  readonly #settings: TlsSettings;
  readonly #clock: Clock;
  readonly #notices: Emitter<MirrorNotices>;
  readonly #sessions = new TlsSessions();
  #texts: TlsTexts;
  #materials: readonly Material[];
  #server: TlsServer | undefined;
  #complaint: string | undefined;
  #cancel: () => void = () => {};
  #stopped = false;

  private constructor(settings: TlsSettings, texts: TlsTexts, { clock, notices }: TlsSurroundings) {
    this.#settings = settings;
    this.#texts = texts;
    this.#materials = makeMaterial(texts, settings);
    this.#clock = clock;
    this.#notices = notices;
  }

  /** @throws Failure `invalid`: a file that cannot be read, or holds something else than it should. */
  static async open(settings: TlsSettings, surroundings: TlsSurroundings): Promise<Certificates> {
    return new Certificates(settings, await readTexts(settings), surroundings);
  }

  /** For the server's constructor. */
  serverOptions() {
    const { clientCa, clientAuth } = this.#settings;
    return {
      ...this.#first().options,
      // What is optional is still checked where it is shown: see `admits`.
      requestCert: clientCa !== undefined,
      rejectUnauthorized: clientCa !== undefined && clientAuth === "required",
      SNICallback: (name: string, done: (error: Error | null, context?: Material["context"]) => void) =>
        done(null, findMaterial(this.#materials, name)?.context),
    };
  }

  /** Keeps the server's certificates as the files have them, until `stop`. */
  attach(server: TlsServer): void {
    this.#server = server;
    this.#sessions.attach(server);
    this.#tellOddities();
    this.#watch();
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  /** True where the client behind a finished handshake may go on. A resumed session may outlive its certificate. */
  admits(socket: TLSSocket): boolean {
    if (this.#settings.clientCa === undefined) return true;
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return this.#settings.clientAuth === "optional";
    return socket.authorized && certificate.validToDate.getTime() > this.#clock.now();
  }

  /** Takes over what the files hold now. */
  async reload(): Promise<void> {
    try {
      const texts = await readTexts(this.#settings);
      if (isSameTexts(texts, this.#texts)) {
        this.#complaint = undefined;
        return;
      }
      const materials = makeMaterial(texts, this.#settings);
      const [first] = materials;
      if (first !== undefined) this.#server?.setSecureContext(first.options);
      this.#materials = materials;
      this.#texts = texts;
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      const complaint = messageOf(error);
      if (complaint !== this.#complaint) this.#tell(`${complaint}; the certificates read before stay in use`);
      this.#complaint = complaint;
      return;
    }
    this.#complaint = undefined;
    // Tickets have other keys now; sessions by id were checked against what may hold no longer.
    this.#sessions.clear();
    const files = this.#settings.certificates.map(({ cert }) => cert);
    this.#notices.emit("certificatesLoaded", { files, expiresAt: this.#expiresAt() });
    this.#tellOddities();
  }

  #watch(): void {
    this.#cancel = this.#clock.after(RELOAD_EVERY_MS, () => {
      this.reload().then(
        () => {
          if (!this.#stopped) this.#watch();
        },
        (cause: unknown) => {
          this.#notices.emit("backgroundFailed", { what: "the reload of certificates", cause });
          if (!this.#stopped) this.#watch();
        },
      );
    });
  }

  #first(): Material {
    const [first] = this.#materials;
    if (first === undefined) throw new Error("TLS without a certificate");
    return first;
  }

  #expiresAt(): number {
    return Math.min(...this.#materials.map(({ leaf }) => leaf.validToDate.getTime()));
  }

  #tellOddities(): void {
    for (const material of this.#materials) {
      const oddity = oddityOf(material, this.#clock.now());
      if (oddity !== undefined) this.#tell(`tls: ${oddity}`);
    }
  }

  #tell(message: string): void {
    this.#notices.emit("certificateTrouble", { message });
  }
}
