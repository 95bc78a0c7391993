import { PkiError, unwrap } from '../../common/errors/index.ts';
import { parseCertificate, type ParsedCertificate } from '../../common/x509/index.ts';
import { hasOwnKey, isNamesAuthority, type Authority } from '../../domain/index.ts';

/** An authority that may certify CAs, with the authorities above it up to the root. */
export interface DownstreamIssuer {
  readonly authority: Authority;
  readonly certificate: ParsedCertificate;
  readonly above: readonly Authority[];
}

/**
 * Finds the named authority; by default the newest active root whose key is ours.
 *
 * @throws PkiError NO_ISSUER, NOT_FOUND, AUTHORITY_UNFIT, CONFLICT
 */
export function downstreamIssuer(
  id: string | undefined,
  all: readonly Authority[],
): DownstreamIssuer {
  const authority =
    id === undefined
      ? all.findLast(
          (authority) =>
            authority.kind === 'root' && hasOwnKey(authority) && authority.state === 'active',
        )
      : all.find((authority) => authority.id === id);
  if (authority === undefined)
    throw id === undefined
      ? new PkiError('NO_ISSUER', 'no active root has its key in a token of this server', {
          next: 'Have the CSR signed where the key of the root is: in a ceremony, or by the CA that holds it.',
        })
      : new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
  if (isNamesAuthority(authority.kind))
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `authority ${authority.id} is of kind ${authority.kind}: it certifies names, and no CA of ` +
        'this trust domain',
      { next: 'Name an active root of this trust domain (meshca authority list --kind root).' },
    );
  if (authority.certificateDer === null || !hasOwnKey(authority))
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `authority ${authority.id} has no certificate, or its key is not here`,
      { next: 'Name an active root or issuing authority of this server.' },
    );
  if (authority.state !== 'active')
    throw new PkiError(
      'CONFLICT',
      `authority ${authority.id} is ${authority.state}, and only active authorities sign`,
    );
  const certificate = unwrap(parseCertificate(authority.certificateDer));
  if (certificate.pathLength !== undefined && certificate.pathLength < 1)
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `authority ${authority.id} has pathLen ${certificate.pathLength}: it may only certify leaves`,
      { next: 'Let a root sign, or an authority with pathLen 1 or more.' },
    );
  return { authority, certificate, above: authoritiesAbove(authority, all) };
}

/** The authorities from the issuer of an authority up to its root. */
export function authoritiesAbove(
  authority: Authority,
  all: readonly Authority[],
): readonly Authority[] {
  const above: Authority[] = [];
  for (
    let at = all.find((candidate) => candidate.id === authority.parentId);
    at !== undefined;
    at = all.find((candidate) => candidate.id === at?.parentId)
  )
    above.push(at);
  return above;
}

export interface DownstreamLifeRequest {
  /** undefined: as long as the authorities above allow. */
  readonly lifeSeconds: number | undefined;
  /** undefined: the authorities above are the only limit. */
  readonly maximumLifeSeconds: number | undefined;
  readonly clockSkewSeconds: number;
}

/**
 * The life of a CA below an issuer, in seconds. It is never shortened silently: a request for more
 * life than a CA above has left is refused.
 *
 * @throws PkiError TTL_OUT_OF_RANGE, ISSUER_LIFETIME
 */
export function downstreamLife(
  { lifeSeconds: requestedSeconds, maximumLifeSeconds, clockSkewSeconds }: DownstreamLifeRequest,
  { authority, certificate, above }: DownstreamIssuer,
  now: number,
): { readonly notBefore: number; readonly notAfter: number } {
  const last = Math.min(...[authority, ...above].map(({ notAfter }) => notAfter));
  const lifeSeconds = requestedSeconds ?? Math.min(maximumLifeSeconds ?? 0, last - now);
  if (maximumLifeSeconds !== undefined && lifeSeconds > maximumLifeSeconds)
    throw new PkiError(
      'TTL_OUT_OF_RANGE',
      `the life of a downstream authority is at most ${maximumLifeSeconds} s (issuance.downstreamTtlSeconds)`,
    );
  if (!Number.isSafeInteger(lifeSeconds) || lifeSeconds < 60)
    throw new PkiError('TTL_OUT_OF_RANGE', 'the life of a downstream authority is at least 60 s');
  if (now + lifeSeconds > last)
    throw new PkiError(
      'ISSUER_LIFETIME',
      `it would outlive the authorities above it, which end at ${new Date(last * 1000).toISOString()}`,
      { next: `Ask for at most ${Math.max(0, last - now)} s, or rotate the root first.` },
    );
  return {
    notBefore: Math.max(now - clockSkewSeconds, certificate.notBefore),
    notAfter: now + lifeSeconds,
  };
}
