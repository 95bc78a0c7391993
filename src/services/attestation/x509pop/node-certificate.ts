import { createHash } from 'node:crypto';
import { fail, ok, type Result } from '../../../common/errors/index.ts';
import { parseSelector, type Selector } from '../../../common/spiffe/index.ts';
import {
  DerReader,
  keyTypeOfSpki,
  parsing,
  sha256Hex,
  tag,
  verifyChain,
  type VerifiedChain,
} from '../../../common/x509/index.ts';

export interface NodeCertificate {
  /** SHA-256 of the node's certificate, hex. It is the name of the agent. */
  readonly fingerprint: string;
  readonly spkiDer: Buffer;
  readonly selectors: readonly Selector[];
  readonly verified: VerifiedChain;
}

/**
 * Verifies a node's certificate below one of the configured CAs. Returns what it says of the node.
 * Fails with ATTESTATION_FAILED.
 */
export function verifyNodeCertificate(
  chainDer: readonly Buffer[],
  rootsDer: readonly Buffer[],
  now: number,
): Result<NodeCertificate> {
  const verified = verifyChain({ chainDer, roots: rootsDer, now, purpose: 'client' });
  if (!verified.ok)
    return fail('ATTESTATION_FAILED', `node certificate: ${verified.error.message}`, {
      cause: verified.error,
    });
  const { leaf } = verified.value;
  if (leaf.isCa) return fail('ATTESTATION_FAILED', 'the node certificate is a CA');
  if (leaf.keyUsage?.names.has('digitalSignature') === false)
    return fail(
      'ATTESTATION_FAILED',
      'the key usage of the node certificate lacks digitalSignature',
    );
  const key = keyTypeOfSpki(leaf.spkiDer);
  if (!key.ok)
    return fail('ATTESTATION_FAILED', `node certificate: ${key.error.message}`, {
      cause: key.error,
    });
  return ok({
    fingerprint: sha256Hex(leaf.raw),
    spkiDer: leaf.spkiDer,
    selectors: selectorsOf(verified.value),
    verified: verified.value,
  });
}

/** Names that can not be a selector are left out, never changed. */
function selectorsOf({ leaf, chain, root }: VerifiedChain): readonly Selector[] {
  const authorities = [...chain.slice(1), root].map(
    ({ raw }) => `x509pop:ca:fingerprint:${createHash('sha256').update(raw).digest('hex')}`,
  );
  const texts = [
    ...commonNames(leaf.subjectDer).map((name) => `x509pop:subject:cn:${name}`),
    ...authorities,
    ...leaf.dnsSans.map((name) => `x509pop:san:dns:${name}`),
    ...leaf.uriSans.map((uri) => `x509pop:san:uri:${uri}`),
  ];
  return [...new Set(texts)].sort().flatMap((text) => {
    const selector = parseSelector(text);
    return selector.ok ? [selector.value] : [];
  });
}

const commonNameOid = '550403';

/**
 * The commonName values, if they are UTF8String or PrintableString. Names in other encodings, or
 * with invalid UTF-8, are ignored.
 */
export function commonNames(nameDer: Buffer): readonly string[] {
  const parsed = parsing('CERTIFICATE_MALFORMED', () => {
    const names: string[] = [];
    const outer = new DerReader(nameDer).sequence('name');
    while (outer.more) {
      const set = outer.enter(tag.set, 'RDN');
      while (set.more) {
        const attribute = set.sequence('attribute');
        const oid = attribute.oidHex('attribute type');
        const value = attribute.any('attribute value');
        if (
          oid === commonNameOid &&
          (value.tag === tag.utf8String || value.tag === tag.printableString)
        ) {
          const text = value.content.toString('utf8');
          if (Buffer.from(text, 'utf8').equals(value.content)) names.push(text);
        }
      }
    }
    return ok(names);
  });
  return parsed.ok ? parsed.value : [];
}
