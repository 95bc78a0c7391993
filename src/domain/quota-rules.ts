import { PkiError } from '../common/errors/index.ts';

const maximumCertificates = 10_000_000;
/** The longest time is that of a quota of a policy. */
const secondsRange = { minimum: 60, maximum: 31 * 86_400 } as const;
const next = 'State both, the number of certificates and the time, or neither.';

/**
 * Checks a quota of certificates: both are 0, or both are in their bounds.
 *
 * @throws PkiError INVALID_REQUEST
 */
export function checkQuota({
  quotaCertificates: count,
  quotaSeconds: seconds,
}: {
  readonly quotaCertificates: number;
  readonly quotaSeconds: number;
}): void {
  if (count === 0 && seconds === 0) return;
  const { minimum, maximum } = secondsRange;
  if (!Number.isSafeInteger(count) || count < 1 || count > maximumCertificates)
    throw new PkiError(
      'INVALID_REQUEST',
      `the quota of ${count} certificates is not in 1 to ${maximumCertificates}`,
      { next },
    );
  if (!Number.isSafeInteger(seconds) || seconds < minimum || seconds > maximum)
    throw new PkiError(
      'INVALID_REQUEST',
      `the time of a quota is ${minimum} s to ${maximum} s, not ${seconds} s`,
      { next },
    );
}
