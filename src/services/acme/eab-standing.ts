import { eabKeyEnd, type EabKey } from '../../domain/index.ts';
import { refuse } from './problem.ts';

/**
 * The EAB key has not ended. The transaction of the effect checks it again: here the client gets a
 * reason before anything is made.
 *
 * @throws AcmeRefusal unauthorized
 */
export function requireStanding(key: Pick<EabKey, 'revokedAt' | 'expiresAt'>, now: number): void {
  const end = eabKeyEnd(key, now);
  if (end === undefined) return;
  refuse(
    'unauthorized',
    `the EAB key ${end === 'revoked' ? 'was revoked' : 'has expired'}. Ask the operators ` +
      'of this CA for another one, and make an account with it',
  );
}
