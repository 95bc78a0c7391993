import { fail, ok, unwrap, type Result } from '../common/errors/index.ts';
import {
  checkCrlSignature,
  isCrlOf,
  parseCertificate,
  parseCrl,
  type ParsedCertificate,
  type ParsedCrl,
} from '../common/x509/index.ts';
import { maySign, takesCrl, type Authority } from '../domain/index.ts';

/**
 * The set goes to every workload, each time that it changes: one of these must never fill a
 * message.
 */
export const maximumExternalCrlBytes = 512 * 1024;

export interface ImportedCrl {
  /** Whose CRL it is. */
  readonly authorityIds: readonly string[];
  readonly number: string;
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly revoked: number;
  readonly warnings: readonly string[];
  /** False after a dry run, and where this very CRL was here already. */
  readonly changed: boolean;
  /** Whether the set is complete with it, so that CRLs are handed out. */
  readonly handedOut: boolean;
}

export interface CheckedCrl {
  readonly crl: ParsedCrl;
  /**
   * Those that it is of: more than one where a certificate was issued anew for the same name and
   * key.
   */
  readonly authorities: readonly Authority[];
  readonly warnings: readonly string[];
}

/**
 * Whether a CRL that somebody else signed may be handed out here: strictly read, of an authority of
 * others that is on record, signed by the key in its recorded certificate, and current. Fails with
 * REQUEST_TOO_LARGE, CRL_INVALID, CRL_ISSUER_UNKNOWN, CRL_NOT_CURRENT. Whether it is newer than the
 * present one is the store's to say.
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
    (each) => each.certificateDer !== null && isCrlOf(crl, certificateOf(each)),
  );
  const authorities = named.filter((each) => takesCrl(each, all));
  const [first] = authorities;
  if (first === undefined) {
    const [own] = named;
    return fail(
      'CRL_ISSUER_UNKNOWN',
      own === undefined
        ? `no authority here has the name and key of the issuer of this CRL (AuthorityKeyIdentifier ${crl.authorityKeyId})`
        : `${own.kind} authority ${own.id} is ${own.state}, with its key in ${own.token === 'external' ? 'the hands of others' : 'a token here'}: no CRL of it is taken in`,
    );
  }
  for (const each of authorities) {
    const signed = checkCrlSignature(crl, certificateOf(each));
    if (!signed.ok) return signed;
  }
  if (crl.thisUpdate > now + input.clockSkewSeconds)
    return fail('CRL_NOT_CURRENT', `the CRL begins at ${iso(crl.thisUpdate)}`);
  if (crl.nextUpdate <= now)
    return fail('CRL_NOT_CURRENT', `the CRL ended at ${iso(crl.nextUpdate)}`);
  if (crl.nextUpdate <= crl.thisUpdate)
    return fail('CRL_INVALID', 'nextUpdate of the CRL is not after its thisUpdate');
  return ok({ crl, authorities, warnings: warningsOf(crl, authorities, input) });
}

/** Authorities right below that were revoked here, and that the CRL does not name. */
export const unlistedBelow = (
  authority: Authority,
  crl: Pick<ParsedCrl, 'revoked'>,
  all: readonly Authority[],
  now: number,
): readonly Authority[] =>
  all.filter(
    (each) =>
      each.parentId === authority.id &&
      each.state === 'revoked' &&
      each.certificateDer !== null &&
      each.notAfter > now &&
      !crl.revoked.has(certificateOf(each).serialHex),
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
      `it ends at ${iso(crl.nextUpdate)}, sooner than issuance.crlLifeDays asks for: without a newer one by then no CRLs are handed out`,
    );
  for (const authority of authorities) {
    for (const each of all) {
      if (
        each.parentId !== authority.id ||
        each.certificateDer === null ||
        !crl.revoked.has(certificateOf(each).serialHex)
      )
        continue;
      if (each.state !== 'revoked')
        warnings.push(
          `it revokes ${each.kind} authority ${each.id}, which is ${each.state} here${maySign(each.state) ? ' and signs' : ''}: who checks CRLs refuses everything below it`,
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

/** Read once for each record: the same buffer comes back as long as the registry keeps it. */
function certificateOf({ certificateDer }: Authority): ParsedCertificate {
  const der = certificateDer as Buffer;
  const known = certificates.get(der);
  if (known !== undefined) return known;
  const parsed = unwrap(parseCertificate(der));
  certificates.set(der, parsed);
  return parsed;
}

const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();
