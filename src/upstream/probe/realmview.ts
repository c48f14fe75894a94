/**
 * What a registry asks for, and where our credential would go then, in words for a person. Pure.
 *
 * The verdict is `judgeRealm`'s own; here is only said which of its reasons it had.
 */
import type { Challenge } from "../auth/challenge.ts";
import { judgeRealm } from "../auth/realm.ts";
import { findKnownAt } from "../registries/known.ts";

export interface JudgedRealm {
  /** `bearer` or `basic`. */
  readonly scheme: string;
  /** The token server; undefined with Basic, where the registry itself gets the password. */
  readonly server: string | undefined;
  readonly mayHaveCredentials: boolean;
  readonly why: string;
}

export interface RealmSurroundings {
  readonly endpoint: URL;
  readonly tokenRealm: string | null;
  readonly show: (url: URL) => string;
}

export function lookAtRealm(challenge: Challenge, { endpoint, tokenRealm, show }: RealmSurroundings): JudgedRealm {
  const { scheme, parameters } = challenge;
  if (scheme === "basic") {
    const why = endpoint.protocol === "https:" ? "the registry itself" : "the registry itself, over plain HTTP";
    return { scheme, server: undefined, mayHaveCredentials: true, why };
  }
  const realm = parameters.get("realm") ?? "";
  const url = URL.parse(realm);
  const server = url === null ? undefined : show(url);
  const verdict = judgeRealm({ realm, endpoint, tokenRealm, withCredential: true });
  if ("refuse" in verdict) return { scheme, server, mayHaveCredentials: false, why: verdict.refuse };
  const { ask } = verdict;
  const configured = tokenRealm === null ? null : URL.parse(tokenRealm);
  const why =
    configured !== null && configured.origin === ask.origin && configured.pathname === ask.pathname
      ? "set as tokenRealm"
      : ask.hostname === endpoint.hostname
        ? "the registry's own host"
        : findKnownAt(endpoint)?.realmHosts.includes(ask.host) === true
          ? "known as its token server"
          : "same registrable domain";
  return { scheme, server, mayHaveCredentials: true, why };
}
