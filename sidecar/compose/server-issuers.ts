import type { Logger } from '../../src/common/runtime/index.ts';
import type { ServerIssuers } from '../../src/common/x509/index.ts';
import type { BundleStore } from '../bundle/index.ts';
import { fingerprintsHex, type AgentConfig } from '../config.ts';
import type { VerifiedServer } from '../issuer-client/index.ts';

/**
 * Under whose certificates this agent believes `/meshca/server`. The newest signed step decides;
 * before there is one: the operator's fingerprint, then the mark. Owner of what was believed without
 * either, which is said in the log and in the status.
 */
export class TrustedIssuers {
  readonly #bundles: Pick<BundleStore, 'issuersSha256'>;
  readonly #configured: ServerIssuers;
  readonly #logger: Logger;
  #unproven: string | undefined;

  constructor(
    bundles: Pick<BundleStore, 'issuersSha256'>,
    { issuerFingerprint }: AgentConfig['bootstrap'],
    logger: Logger,
  ) {
    this.#bundles = bundles;
    this.#logger = logger;
    this.#configured =
      issuerFingerprint === undefined
        ? { kind: 'mark' }
        : { kind: 'keys', sha256Hex: new Set(fingerprintsHex(issuerFingerprint)) };
  }

  now(): ServerIssuers {
    const known = this.#bundles.issuersSha256();
    return known === undefined ? this.#configured : { kind: 'keys', sha256Hex: known };
  }

  /** To be told of each server that was taken for the CA. */
  met({ issuer }: VerifiedServer): void {
    if (issuer?.proof === 'key' || issuer?.proof === 'mark') return;
    if (this.#bundles.issuersSha256() !== undefined) return;
    const told =
      issuer === undefined
        ? 'the server was believed without any proof (bootstrap.insecureBootstrap)'
        : `the issuer of the server, with the key ${issuer.sha256Hex}, was believed because ` +
          'of its root alone, which marks no issuers: any CA below that root could have ' +
          'answered';
    if (told !== this.#unproven)
      this.#logger.warn(
        issuer === undefined
          ? {}
          : { issuerFingerprint: issuer.sha256Hex, rootFingerprint: issuer.rootSha256Hex },
        `${told}; compare with "meshca token create", and set bootstrap.issuerFingerprint on new nodes`,
      );
    this.#unproven = told;
  }

  /** What a person should know, until the next start. */
  note(): string | undefined {
    return this.#unproven;
  }
}
