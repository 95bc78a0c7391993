import { PkiError } from '../../common/errors/index.ts';
import {
  revocationReasons,
  type Authority,
  type CertificateRecord,
  type Revocation,
  type RevocationReason,
} from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import type { CallerRegistry } from '../callers/caller-registry.ts';
import type { Revocations } from '../services.ts';
import type { InventoryDependencies } from './inventory.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import { targetOfRecord } from './record-target.ts';
import { refusing } from '../callers/refusal-log.ts';

export interface RevocationDependencies extends InventoryDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly revocations: Pick<LedgerRevocations, 'revoke' | 'bySerial'>;
  readonly callers: Pick<CallerRegistry, 'announce'>;
  /** Absent where no tree is kept over the log. */
  readonly inventory: Pick<InventoryProof, 'require'>;
  readonly authorities: Pick<Authorities, 'all'>;
}

/**
 * Ends single certificates, where their profile allows it: a short-lived one stands in no CRL, and
 * its answer is its expiry.
 */
export class RevocationService implements Revocations {
  readonly #dependencies: RevocationDependencies;

  constructor(dependencies: RevocationDependencies) {
    this.#dependencies = dependencies;
  }

  revoke(
    caller: OperatorCaller,
    serial: string,
    reason: string,
  ): Promise<{ readonly certificate: CertificateRecord; readonly revocation: Revocation }> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'RevokeCertificate', subject: serial.slice(0, 64) },
      async () => {
        const { access, certificates, revocations, callers, clock, inventory } = this.#dependencies;
        const rights = await access.of(caller);
        rights.require('certificate.revoke', { kind: 'none' });
        const stated = reasonOf(reason);
        const record = await certificates.bySerial(serial.toLowerCase());
        // the same words for one that does not exist and one that is another team's
        if (
          record === undefined ||
          !(
            rights.permits('certificate.revoke', access.all) ||
            rights.permits('certificate.revoke', targetOfRecord(record))
          )
        ) {
          throw new PkiError(
            'NOT_FOUND',
            `there is no certificate with the serial ${JSON.stringify(serial.slice(0, 64))} under a prefix of your roles`,
          );
        }
        // whether it can be revoked, and on whose CRL it is to stand, is read from this row
        if (record.state === 'issued' && record.kind !== 'authority')
          await inventory.require(record);
        checkRevocable(record, clock.now(), this.#dependencies.authorities.all());
        const actor = actorOf(caller);
        const revocation = await revocations.revoke(
          { serial: record.serial, reason: stated, revokedAt: clock.now(), revokedBy: actor },
          {
            timeMs: clock.nowMs(),
            actor,
            kind: 'certificate.revoked',
            subject: record.spiffeId,
            detail: {
              serial: record.serial,
              reason: stated,
              notAfter: record.notAfter,
              holder: record.holder,
            },
          },
        );
        callers.announce({ kind: 'recheck' });
        return { certificate: record, revocation };
      },
    );
  }

  /** Of a certificate that the caller has been shown. */
  of(serial: string): Promise<Revocation | undefined> {
    return this.#dependencies.revocations.bySerial(serial);
  }
}

function reasonOf(text: string): RevocationReason {
  if (text === '') return 'unspecified';
  const reason = revocationReasons.find((each) => each === text);
  if (reason === undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `the reason ${JSON.stringify(text.slice(0, 40))} is none of ${revocationReasons.join(', ')}`,
    );
  return reason;
}

function checkRevocable(
  record: CertificateRecord,
  now: number,
  authorities: readonly Authority[],
): void {
  const ends = new Date(record.notAfter * 1000).toISOString();
  if (now > record.notAfter)
    throw new PkiError(
      'CERTIFICATE_EXPIRED',
      `the certificate ${record.serial} expired at ${ends}`,
      { next: 'Nothing is to be done: nobody accepts it any more.' },
    );
  // one of a CA downstream stands on the CRL of who signed it; ours have a life of their own
  const own =
    record.certificateDer === null ||
    authorities.some(
      ({ certificateDer }) => certificateDer?.equals(record.certificateDer as Buffer) === true,
    );
  if (record.kind === 'authority' && record.state === 'issued' && !own) return;
  if (record.kind === 'authority')
    throw new PkiError(
      'REVOCATION_NOT_POSSIBLE',
      `${record.serial} is the certificate of an authority`,
      { next: 'Use "meshca authority revoke", or "authority compromise" when its key is stolen.' },
    );
  if (record.state === 'refused')
    throw new PkiError(
      'REVOCATION_NOT_POSSIBLE',
      `the certificate ${record.serial} was never signed`,
      { next: 'Nothing is to be done.' },
    );
  if (record.profile === 'revocable') return;
  throw new PkiError(
    'REVOCATION_NOT_POSSIBLE',
    `the certificate ${record.serial} of ${record.spiffeId} is short-lived, and says that there is no revocation information for it; it ends by itself at ${ends}`,
    { next: refusal(record, ends) },
  );
}

/** How to keep the holder from getting another one. */
function refusal(
  { kind, spiffeId, entryId, delegationId, holder }: CertificateRecord,
  ends: string,
): string {
  if (kind === 'agent')
    return `Refuse its renewal: "meshca agent ban ${spiffeId}". Its certificate ends at ${ends}.`;
  if (kind === 'server')
    return `It is this CA's own; restart the server to have another one. It ends at ${ends}.`;
  if (entryId !== null)
    return `Refuse its renewal: "meshca entry delete ${entryId}", or ban its node: "meshca agent ban ${holder}". It ends at ${ends}.`;
  if (delegationId !== null)
    return `Refuse further ones: "meshca delegation delete ${delegationId}". It ends at ${ends}.`;
  return `Nothing renews it. It ends at ${ends}.`;
}
