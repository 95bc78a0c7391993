import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { CertificateRecord, Revocation } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { LedgerRevocations } from '../../ledger/index.ts';
import type { CertificateStore } from '../../store/ports/index.ts';
import { actorOf, type OperatorCaller } from '../callers/caller.ts';
import { requireProven, type RevocationProof } from '../revoking/proof.ts';
import { revocationReasonOf } from '../revoking/reasons.ts';
import { endOf, revocability, unlistedNote } from '../revoking/revocability.ts';
import type { Revoker } from '../revoking/revoker.ts';
import type { RevocationRequest, Revocations, RevokedCertificate } from '../services.ts';
import type { InspectionDependencies } from './inspection-dependencies.ts';
import { coversRecord } from './record-target.ts';
import { refusing } from '../callers/refusal-log.ts';

export interface RevocationDependencies extends InspectionDependencies {
  readonly certificates: Pick<CertificateStore, 'bySerial'>;
  readonly revocations: Pick<LedgerRevocations, 'bySerial'>;
  readonly revoker: Revoker;
  readonly inventory: RevocationProof['inventory'];
  readonly authorities: Pick<Authorities, 'all'>;
  /** By a clock that is not believed no certificate has expired: it can be revoked. */
  readonly clockBelieved: () => boolean;
}

/** Revokes single certificates. One with noRevAvail appears on no CRL, and is revoked on record. */
export class RevocationService implements Revocations {
  readonly #dependencies: RevocationDependencies;

  constructor(dependencies: RevocationDependencies) {
    this.#dependencies = dependencies;
  }

  revoke(
    caller: OperatorCaller,
    { serial, reason, blockKeys }: RevocationRequest,
  ): Promise<RevokedCertificate> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'RevokeCertificate', subject: serial.slice(0, 64) },
      async () => {
        const { access, certificates, revoker, clock, clockBelieved } = this.#dependencies;
        const rights = await access.of(caller);
        rights.require('certificate.revoke', { kind: 'none' });
        const stated = revocationReasonOf(reason);
        const record = await certificates.bySerial(serial.toLowerCase());
        // same text for a certificate that does not exist and one of another team
        if (
          record === undefined ||
          !coversRecord(rights, access, { verb: 'certificate.revoke', record })
        ) {
          throw new PkiError(
            'NOT_FOUND',
            `there is no certificate with the serial ${JSON.stringify(serial.slice(0, 64))} ` +
              'under a prefix of your roles',
          );
        }
        await requireProven(record, this.#dependencies);
        if (clockBelieved()) checkLives(record, clock.now());
        const how = unwrap(revocability(record, this.#dependencies.authorities.all()));
        const revocation = await revoker.revokeOne(
          { record, how },
          {
            actor: actorOf(caller),
            reason: stated,
            blockKeys: blockKeys ?? stated === 'keyCompromise',
          },
        );
        return {
          certificate: record,
          revocation,
          note: how === 'unlisted' ? unlistedNote(record) : '',
        };
      },
    );
  }

  /** The revocation of a certificate that the caller may see. */
  of(serial: string): Promise<Revocation | undefined> {
    return this.#dependencies.revocations.bySerial(serial);
  }
}

function checkLives(record: CertificateRecord, now: number): void {
  if (now > record.notAfter)
    throw new PkiError(
      'CERTIFICATE_EXPIRED',
      `the certificate ${record.serial} expired at ${endOf(record)}`,
      { next: 'No action is needed: nobody accepts it any more.' },
    );
}
