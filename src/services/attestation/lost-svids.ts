import { maximumLeafBackdateSeconds } from '../../certs/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import {
  parseCertificate,
  verifyX509Svid,
  type ParsedCertificate,
} from '../../common/x509/index.ts';
import {
  isTrusted,
  standingIn,
  type Agent,
  type AgentLine,
  type Proven,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { ObjectLedger } from '../../ledger/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import type { ServiceSettings } from '../settings.ts';

export interface LostSvidsDependencies {
  readonly objects: Pick<ObjectLedger, 'restores'>;
  readonly authorities: Pick<Authorities, 'all' | 'chainDer' | 'rootsDer'>;
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly inventory: Pick<InventoryProof, 'require'>;
  readonly clock: Pick<Clock, 'now'>;
  readonly settings: Pick<ServiceSettings, 'trustDomain'>;
}

/** An SVID of an agent whose record was lost with a restored database. */
export interface LostSvid {
  readonly spkiDer: Buffer;
  readonly notAfter: number;
  /** False: another SVID of this agent is in use that is later, or of another session. */
  readonly counts: boolean;
}

const maximumCertificateBytes = 16_384;

/**
 * SVIDs of agents that were issued between a backup and its return. The inventory has no record of
 * them. What proves them is the signature of one of our own issuing authorities, an ID that is
 * given to agents alone, and a time that an operator has given up (`database.restored`, by the
 * log). Such an SVID may recover, and nothing else, and only as long as this agent has used
 * no SVID from after the restore. So two holders never take turns: the first that came back decides.
 */
export class LostSvids {
  readonly #dependencies: LostSvidsDependencies;

  constructor(dependencies: LostSvidsDependencies) {
    this.#dependencies = dependencies;
  }

  /** Undefined: it is none of ours, or its record was not lost. */
  async find(
    agent: Proven<Agent>,
    line: AgentLine,
    { serial, certificateDer }: { readonly serial: string; readonly certificateDer?: Buffer },
  ): Promise<LostSvid | undefined> {
    if (certificateDer === undefined || certificateDer.length > maximumCertificateBytes)
      return undefined;
    const leaf = parseCertificate(certificateDer);
    if (!leaf.ok || leaf.value.serialHex !== serial) return undefined;
    const signed = this.#isOurs(leaf.value, certificateDer, agent.spiffeId);
    if (!signed || !this.#isOfLostTime(leaf.value)) return undefined;
    const { spkiDer, notBefore, notAfter } = leaf.value;
    // in the line: it has recovered before, and its answer may have been lost
    const counts = standingIn(line, serial) !== 'none' || (await this.#precedes(line, notBefore));
    return { spkiDer, notAfter, counts };
  }

  /** The signer is one of our own issuing authorities, and not a CA below. */
  #isOurs(leaf: ParsedCertificate, leafDer: Buffer, spiffeId: string): boolean {
    const { authorities, clock, settings } = this.#dependencies;
    return authorities
      .all()
      .filter(
        ({ kind, state, subjectKeyId }) =>
          kind === 'issuing' && isTrusted(state) && subjectKeyId === leaf.authorityKeyId,
      )
      .some(({ id }) => {
        const verified = verifyX509Svid({
          chainDer: [leafDer, ...authorities.chainDer(id)],
          bundle: (name) =>
            name === settings.trustDomain.name ? authorities.rootsDer() : undefined,
          // how long ago it expired is judged with the recovery
          now: Math.min(clock.now(), leaf.notAfter),
        });
        return verified.ok && verified.value.id.toString() === spiffeId;
      });
  }

  #isOfLostTime({ notBefore }: ParsedCertificate): boolean {
    return this.#dependencies.objects
      .restores()
      .some(
        ({ acceptedMs, lostFromMs }) =>
          lostFromMs < acceptedMs &&
          notBefore + maximumLeafBackdateSeconds >= Math.floor(lostFromMs / 1000) &&
          notBefore * 1000 <= acceptedMs,
      );
  }

  /** The SVID that this agent uses, or was given last, is on record and not later than this one. */
  async #precedes({ inUse, svids }: AgentLine, notBefore: number): Promise<boolean> {
    const { certificates, inventory } = this.#dependencies;
    const present = inUse ?? svids.at(-1)?.serial;
    const record = present === undefined ? undefined : await certificates.bySerial(present);
    if (record === undefined || record.notBefore > notBefore) return false;
    await inventory.require(record);
    return true;
  }
}
