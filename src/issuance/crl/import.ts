import { fail, ok, unwrap, type Result } from '../../common/errors/index.ts';
import {
  checkCrlSignature,
  isCrlOf,
  parseCertificate,
  parseCrl,
  type ParsedCertificate,
  type ParsedCrl,
} from '../../common/x509/index.ts';
import { maySign, takesCrl, type Authority } from '../../domain/index.ts';

/**
 * The set of CRLs goes to every workload at each change, so that no external CRL may fill a
 * message.
 */
const maximumExternalCrlBytes = 512 * 1024;

export interface ImportedCrl {
  /** The authorities that the CRL belongs to. */
  readonly authorityIds: readonly string[];
  readonly number: string;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly revoked: number;
  readonly warnings: readonly string[];
  /** False after a dry run, and if this very CRL was already stored. */
  readonly changed: boolean;
  /** Whether the set is now complete, so that CRLs are handed out. */
  readonly handedOut: boolean;
}

export interface CheckedCrl {
  readonly crl: ParsedCrl;
  /**
   * The authorities that the CRL belongs to. There is more than one if a certificate was issued
   * anew for the same name and key.
   */
  readonly authorities: readonly Authority[];
  readonly warnings: readonly string[];
}

/**
 * Checks whether a CRL signed elsewhere may be handed out here. It must parse strictly, belong to a
 * recorded authority of another CA, be signed by the key in that recorded certificate, and be
 * current. Whether it is newer than the present CRL is checked by the store.
 *
 * Fails with REQUEST_TOO_LARGE, CRL_INVALID, CRL_ISSUER_UNKNOWN, CRL_NOT_CURRENT.
 */
export function checkExternalCrl(input: {
  readonly der: Buffer;
  readonly all: readonly Authority[];
  readonly now: number;
  readonly clockSkewSeconds: number /** Shorter ones are warned of. */;
  readonly lifeSeconds: number;
}): Result<CheckedCrl> {
  const { der, all, now } = input;
  if (der.length > maximumExternalCrlBytes)
    return fail(
      'REQUEST_TOO_LARGE',
      `the CRL has ${der.length} bytes; at most ${maximumExternalCrlBytes} can go to every workload`,
    );
  const parsed = parseCrl(der);
  if (!parsed.ok) return parsed;
  const crl = parsed.value;
  const named = all.filter(
    (authority) => authority.certificateDer !== null && isCrlOf(crl, certificateOf(authority)),
  );
  const authorities = named.filter((authority) => takesCrl(authority, all));
  const [first] = authorities;
  if (first === undefined) {
    const [own] = named;
    return fail(
      'CRL_ISSUER_UNKNOWN',
      own === undefined
        ? 'no authority here has the name and key of the issuer of this CRL ' +
            `(AuthorityKeyIdentifier ${crl.authorityKeyId})`
        : `${own.kind} authority ${own.id} is ${own.state}, with its key in ` +
            `${own.token === 'external' ? 'the hands of others' : 'a token here'}: its CRL can ` +
            'not be imported',
    );
  }
  for (const issuer of authorities) {
    const signed = checkCrlSignature(crl, certificateOf(issuer));
    if (!signed.ok) return signed;
  }
  if (crl.thisUpdate > now + input.clockSkewSeconds)
    return fail('CRL_NOT_CURRENT', `the CRL is not valid before ${iso(crl.thisUpdate)}`);
  if (crl.nextUpdate <= now)
    return fail('CRL_NOT_CURRENT', `the CRL expired at ${iso(crl.nextUpdate)}`);
  if (crl.nextUpdate <= crl.thisUpdate)
    return fail('CRL_INVALID', 'the nextUpdate of the CRL is not after its thisUpdate');
  return ok({ crl, authorities, warnings: warningsOf(crl, authorities, input) });
}

/** Authorities directly below this one that were revoked here and are missing on the CRL. */
export const unlistedBelow = (
  authority: Authority,
  crl: Pick<ParsedCrl, 'revoked'>,
  all: readonly Authority[],
  now: number,
): readonly Authority[] =>
  all.filter(
    (candidate) =>
      candidate.parentId === authority.id &&
      candidate.state === 'revoked' &&
      candidate.certificateDer !== null &&
      candidate.notAfter > now &&
      !crl.revoked.has(certificateOf(candidate).serialHex),
  );

function warningsOf(
  crl: ParsedCrl,
  authorities: readonly Authority[],
  {
    all,
    now,
    lifeSeconds,
  }: { readonly all: readonly Authority[]; readonly now: number; readonly lifeSeconds: number },
): readonly string[] {
  const warnings: string[] = [];
  const left = crl.nextUpdate - now;
  if (left < lifeSeconds)
    warnings.push(
      `it ends at ${iso(crl.nextUpdate)}, sooner than issuance.crlLifeDays requires: import ` +
        'a newer one by then, else no CRLs are handed out',
    );
  for (const authority of authorities) {
    for (const listed of all) {
      if (
        listed.parentId !== authority.id ||
        listed.certificateDer === null ||
        !crl.revoked.has(certificateOf(listed).serialHex)
      )
        continue;
      if (listed.state !== 'revoked')
        warnings.push(
          `it revokes ${listed.kind} authority ${listed.id}, which is ${listed.state} ` +
            `here${maySign(listed.state) ? ' and signs' : ''}: whoever checks CRLs refuses ` +
            'everything below it',
        );
    }
    for (const { kind, id } of unlistedBelow(authority, crl, all, now))
      warnings.push(
        `${kind} authority ${id} was revoked here and is not on it: have it revoked there as well`,
      );
  }
  return warnings;
}

const certificates = new WeakMap<Buffer, ParsedCertificate>();

/**
 * Parses the certificate of each record once. The registry keeps the same buffer, which is the key
 * of the cache.
 */
export function certificateOf({ certificateDer }: Authority): ParsedCertificate {
  const der = certificateDer as Buffer;
  const known = certificates.get(der);
  if (known !== undefined) return known;
  const parsed = unwrap(parseCertificate(der));
  certificates.set(der, parsed);
  return parsed;
}

const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();
