import { PkiError } from '../../common/errors/index.ts';
import {
  isRevocable,
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
import type { InspectionDependencies } from './inspection-dependencies.ts';
import type { InventoryProof } from '../callers/inventory-proof.ts';
import { targetOfRecord } from './record-target.ts';
import { refusing } from '../callers/refusal-log.ts';

export interface RevocationDependencies extends InspectionDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly revocations: Pick<LedgerRevocations, 'revoke' | 'bySerial'>;
  readonly callers: Pick<CallerRegistry, 'announce'>;
  /** Absent if no tree is kept over the log. */
  readonly inventory: Pick<InventoryProof, 'require'>;
  readonly authorities: Pick<Authorities, 'all'>;
  /** By a clock that is not believed no certificate has expired: it can be revoked. */
  readonly clockBelieved: () => boolean;
}

/**
 * Revokes single certificates, if their profile allows it. A short-lived certificate appears on no
 * CRL: it ends by expiry.
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
        const { access, certificates, revocations, callers, clock, clockBelieved, inventory } =
          this.#dependencies;
        const rights = await access.of(caller);
        rights.require('certificate.revoke', { kind: 'none' });
        const stated = reasonOf(reason);
        const record = await certificates.bySerial(serial.toLowerCase());
        // same text for a certificate that does not exist and one of another team
        if (
          record === undefined ||
          !(
            rights.permits('certificate.revoke', access.all) ||
            rights.permits('certificate.revoke', targetOfRecord(record))
          )
        ) {
          throw new PkiError(
            'NOT_FOUND',
            `there is no certificate with the serial ${JSON.stringify(serial.slice(0, 64))} ` +
              'under a prefix of your roles',
          );
        }
        // this row decides whether the certificate can be revoked, and on which CRL, so that it
        // must be proven
        if (record.state === 'issued' && record.kind !== 'authority')
          await inventory.require(record);
        if (clockBelieved()) checkLives(record, clock.now());
        checkRevocable(record, this.#dependencies.authorities.all());
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

  /** The revocation of a certificate that the caller may see. */
  of(serial: string): Promise<Revocation | undefined> {
    return this.#dependencies.revocations.bySerial(serial);
  }
}

function reasonOf(text: string): RevocationReason {
  if (text === '') return 'unspecified';
  const reason = revocationReasons.find((candidate) => candidate === text);
  if (reason === undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `the reason ${JSON.stringify(text.slice(0, 40))} is not one of ${revocationReasons.join(', ')}`,
    );
  return reason;
}

const endOf = ({ notAfter }: CertificateRecord): string => new Date(notAfter * 1000).toISOString();

function checkLives(record: CertificateRecord, now: number): void {
  if (now > record.notAfter)
    throw new PkiError(
      'CERTIFICATE_EXPIRED',
      `the certificate ${record.serial} expired at ${endOf(record)}`,
      { next: 'No action is needed: nobody accepts it any more.' },
    );
}

function checkRevocable(record: CertificateRecord, authorities: readonly Authority[]): void {
  const ends = endOf(record);
  // a downstream CA is listed on the CRL of its issuer; our own authorities are revoked by rotation
  const isOurs =
    record.certificateDer === null ||
    authorities.some(
      ({ certificateDer }) => certificateDer?.equals(record.certificateDer as Buffer) === true,
    );
  if (record.kind === 'authority' && record.state === 'issued' && !isOurs) return;
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
      { next: 'No action is needed.' },
    );
  if (isRevocable(record.profile)) return;
  throw new PkiError(
    'REVOCATION_NOT_POSSIBLE',
    `the certificate ${record.serial} of ${record.spiffeId} is short-lived and can not be ` +
      `revoked (it carries noRevAvail); it expires at ${ends}`,
    { next: refusal(record, ends) },
  );
}

/** How the operator can prevent a further certificate for the holder. */
function refusal(
  { kind, spiffeId, entryId, delegationId, holder }: CertificateRecord,
  ends: string,
): string {
  if (kind === 'agent')
    return `Refuse its renewal: "meshca agent ban ${spiffeId}". Its certificate ends at ${ends}.`;
  if (kind === 'server')
    return `It is the server's own certificate; restart the server to replace it. It ends at ${ends}.`;
  if (kind === 'linkerd')
    return (
      'Refuse its renewal: delete the service account or the pod in Kubernetes, so that its ' +
      `token ends. It ends at ${ends}.`
    );
  if (entryId !== null)
    return (
      `Refuse its renewal: "meshca entry delete ${entryId}", or ban its node: "meshca agent ` +
      `ban ${holder}". It ends at ${ends}.`
    );
  if (delegationId !== null)
    return `Refuse further certificates: "meshca delegation delete ${delegationId}". It ends at ${ends}.`;
  return `Nothing renews it. It ends at ${ends}.`;
}
