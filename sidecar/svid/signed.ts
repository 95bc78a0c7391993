import { PkiError } from '../../src/common/errors/index.ts';
import type { SpiffeId, TrustDomain } from '../../src/common/spiffe/index.ts';
import { verifyX509Svid } from '../../src/common/x509/index.ts';
import type { X509Svid__Output } from '../../src/common/wire/generated/meshca/issuer/v1/X509Svid.ts';
import type { HeldX509Svid } from '../ports/svids.ts';
import type { HeldRecord } from './held-record.ts';
import { compact, type Interner } from './memory.ts';
import type { Signed } from './signing-queue.ts';

/**
 * Nothing unchecked goes out: Envoy stops taking updates after one pair that does not match (its
 * issue 42438). Judged by the server's time, which made it, so that a node whose clock is off still
 * gets its SVIDs. Throws SVID_INVALID.
 */
export function verifySigned(
  { svid, key }: { readonly svid: X509Svid__Output; readonly key: { readonly spkiDer: Buffer } },
  wanted: SpiffeId,
  trustDomain: TrustDomain,
  roots: readonly Buffer[],
): void {
  const verified = verifyX509Svid({
    chainDer: svid.chainDer,
    bundle: (name) => (name === trustDomain.name ? roots : undefined),
    now: svid.serverTime,
  });
  if (!verified.ok)
    throw new PkiError(
      'SVID_INVALID',
      `the SVID for ${wanted.toString()} does not verify: ${verified.error.message}`,
      { cause: verified.error },
    );
  if (!verified.value.id.equals(wanted))
    throw new PkiError(
      'SVID_INVALID',
      `the SVID for ${wanted.toString()} names ${verified.value.id.toString()}`,
    );
  if (!verified.value.leaf.spkiDer.equals(key.spkiDer))
    throw new PkiError('SVID_INVALID', `the SVID for ${wanted.toString()} has another key`);
}

/**
 * Makes a verified SVID the present one of its record. Its end is counted from when the request
 * left, by the server's clock.
 */
export function putInto(
  record: HeldRecord,
  { svid, key, sentAtMonotonicMs }: Signed,
  interner: Interner,
): HeldX509Svid {
  const [leaf, privateKeyPkcs8Der] = compact(
    svid.chainDer[0] as Buffer,
    key.privateKeyPkcs8Der,
  ) as [Buffer, Buffer];
  const held: HeldX509Svid = {
    identity: record.identity,
    serial: svid.serial,
    chainDer: [leaf, ...svid.chainDer.slice(1).map((der) => interner.intern(der))],
    privateKeyPkcs8Der,
    notBefore: svid.notBefore,
    notAfter: svid.notAfter,
  };
  Object.assign(record, {
    svid: held,
    authorityId: interner.text(svid.authorityId),
    lifetimeSeconds: svid.lifetimeSeconds,
    attempt: 0,
    refusal: undefined,
    expiresAtMonotonicMs: sentAtMonotonicMs + (svid.notAfter - svid.serverTime) * 1000,
  });
  return held;
}
