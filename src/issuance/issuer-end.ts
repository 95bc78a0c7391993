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

/**
 * Why an authority that has not begun signs nothing: its own server made it, so that the clock of
 * this server went back.
 */
export const issuerNotBegun = ({ kind, id, notBefore }: Authority, now: number): PkiError =>
  new PkiError(
    'NO_ISSUER',
    `the ${kind} authority ${id} begins at ${new Date(notBefore * 1000).toISOString()}, and ` +
      `the clock of this server says ${new Date(now * 1000).toISOString()}`,
    {
      next:
        'Set the clock of the server right (date -u shows it), then look at "meshca status": ' +
        'it signs again by itself.',
    },
  );
