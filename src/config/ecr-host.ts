/**
 * Account and region as the host names of Amazon's private registries hold them: `<account>.dkr.ecr.<region>.amazonaws.com`
 * in all partitions, with the FIPS and dual-stack forms, as amazon-ecr-credential-helper knows them
 * (`ecr-login/api/client.go`).
 */

export interface EcrHost {
  readonly account: string;
  readonly region: string;
}

const SHAPE =
  /^([a-z0-9][a-z0-9_-]{0,63})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9][a-z0-9-]{0,31})\.(?:amazonaws\.(?:com(?:\.cn)?|eu)|on\.(?:aws|amazonwebservices\.com\.cn)|sc2s\.sgov\.gov|c2s\.ic\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$/;

/** @param host without its port; undefined where it is none of theirs */
export function findEcrHost(host: string): EcrHost | undefined {
  const [, account, region] = SHAPE.exec(host.toLowerCase()) ?? [];
  return account === undefined || region === undefined ? undefined : { account, region };
}
