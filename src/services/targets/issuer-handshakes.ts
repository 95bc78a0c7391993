import type { NodeHandshakes } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import type { HandshakeLedger } from '../sync/handshakes.ts';

export interface IssuerHandshakesDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly authorities: Pick<Authorities, 'all'>;
  readonly handshakes: Pick<HandshakeLedger, 'nodes'>;
}

/** A set, by the certificate in it. */
export interface ServedLeaf {
  readonly agentId: string;
  readonly serial: string;
}

const maximumRemembered = 10_000;

/**
 * Handshakes that workloads and proxies reported of peers whose certificates come from the same
 * issuers as those of sets. The issuer comes from the inventory, not from the agent.
 */
export class IssuerHandshakes {
  readonly #dependencies: IssuerHandshakesDependencies;
  /** The authority of a serial never changes. */
  readonly #authorityOf = new Map<string, string>();

  constructor(dependencies: IssuerHandshakesDependencies) {
    this.#dependencies = dependencies;
  }

  async of(leaves: readonly ServedLeaf[]): Promise<readonly NodeHandshakes[]> {
    const { authorities, handshakes } = this.#dependencies;
    const issuers = new Set<string>();
    for (const leaf of leaves) issuers.add(await this.#issuer(leaf));
    const keyIds = authorities
      .all()
      .flatMap(({ id, subjectKeyId }) =>
        issuers.has(id) && subjectKeyId !== null ? [subjectKeyId] : [],
      );
    const byAgent = Map.groupBy(
      [...new Set(keyIds)].flatMap((keyId) => handshakes.nodes(keyId)),
      ({ agentId }) => agentId,
    );
    return [...byAgent].map(([agentId, nodes]) => ({
      agentId,
      succeeded: nodes.reduce((sum, { succeeded }) => sum + succeeded, 0),
      failed: nodes.reduce((sum, { failed }) => sum + failed, 0),
    }));
  }

  /** Empty: the agent did not get this certificate from us. */
  async #issuer({ agentId, serial }: ServedLeaf): Promise<string> {
    const key = `${agentId} ${serial}`;
    const known = this.#authorityOf.get(key);
    if (known !== undefined) return known;
    const record = await this.#dependencies.certificates.bySerial(serial);
    const authorityId = record?.holder === agentId ? record.authorityId : '';
    if (this.#authorityOf.size >= maximumRemembered) this.#authorityOf.clear();
    this.#authorityOf.set(key, authorityId);
    return authorityId;
  }
}
