import { PkiError } from '../common/errors/index.ts';
import type { AuditValue, Authority } from '../domain/index.ts';

/** Why an authority that is past its end signs nothing. */
export const issuerEnded = ({ kind, id, notAfter }: Authority): PkiError =>
  new PkiError(
    'ISSUER_ENDED',
    `the ${kind} authority ${id} ended at ${new Date(notAfter * 1000).toISOString()} and signs nothing more`,
  );

/** What the record of a certificate or token says of a life that was cut to its issuer's. */
export const cutDetail = (
  ttlSeconds: number,
  lifeSeconds: number,
): Readonly<Record<string, AuditValue>> =>
  lifeSeconds < ttlSeconds ? { cutFromSeconds: ttlSeconds, cutToSeconds: lifeSeconds } : {};
