import { hash, verify, type KeyObject } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';
import { publicKeyOf } from './keys.ts';
import { hashOf } from './signature-algorithm.ts';
import type { ParsedCertificate } from './types.ts';

/**
 * Facts remembered by this module, its only owner: imported keys by their SPKI, and links (child,
 * issuer key) whose signature was good. Both are facts of mathematics, never of trust, so that
 * nothing has to be forgotten on rotation. They are bounded; since paths are verified from the root
 * down, only keys and links that a trusted key vouches for get in, and an outsider can not fill
 * them.
 */
const keys = new Map<string, KeyObject>();
const links = new Set<string>();
const maximumKeys = 256;
const maximumLinks = 2048;

const curves: ReadonlySet<string | undefined> = new Set(['prime256v1', 'secp384r1', 'secp521r1']);

/**
 * Whether `issuer`'s key signed `child`. Call with a trusted issuer only. Fails with
 * CHAIN_UNTRUSTED.
 */
export function checkSignature(
  child: Pick<ParsedCertificate, 'raw' | 'tbsDer' | 'signatureAlgorithm' | 'signature'>,
  issuer: ParsedCertificate,
): Result<void> {
  const algorithm = child.signatureAlgorithm;
  if (algorithm === undefined)
    return fail(
      'CHAIN_UNTRUSTED',
      'a certificate is signed with an algorithm that is not accepted',
    );
  const issuerDigest = hash('sha256', issuer.spkiDer, 'base64');
  const link = issuerDigest + hash('sha256', child.raw, 'base64');
  if (links.has(link)) return ok(undefined);
  const key = keyOf(issuer.spkiDer, issuerDigest);
  if (key === undefined)
    return fail('CHAIN_UNTRUSTED', 'the key of an issuer is not of an accepted kind');
  if (key.asymmetricKeyType !== (algorithm.startsWith('rsa') ? 'rsa' : 'ec'))
    return fail('CHAIN_UNTRUSTED', 'a signature algorithm does not fit the key of its issuer');
  if (!verify(hashOf(algorithm), child.tbsDer, key, child.signature))
    return fail('CHAIN_UNTRUSTED', 'the signature of a certificate is wrong');
  remember(links, link, maximumLinks);
  return ok(undefined);
}

function keyOf(spkiDer: Buffer, digest: string): KeyObject | undefined {
  const known = keys.get(digest);
  if (known !== undefined) return known;
  let key: KeyObject;
  try {
    key = publicKeyOf(spkiDer);
  } catch {
    return undefined;
  }
  const details = key.asymmetricKeyDetails;
  const accepted =
    key.asymmetricKeyType === 'ec'
      ? curves.has(details?.namedCurve)
      : key.asymmetricKeyType === 'rsa' && (details?.modulusLength ?? 0) >= 2048;
  if (!accepted) return undefined;
  if (keys.size >= maximumKeys) keys.delete(keys.keys().next().value as string);
  keys.set(digest, key);
  return key;
}

function remember(set: Set<string>, entry: string, maximum: number): void {
  if (set.size >= maximum) set.delete(set.values().next().value as string);
  set.add(entry);
}
