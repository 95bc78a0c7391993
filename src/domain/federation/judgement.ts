import { fail, ok, type Result } from '../../common/errors/index.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import { parseCertificate, sha256Hex } from '../../common/x509/index.ts';
import type { AcceptedBundle } from './accepted.ts';
import type { ForeignDocument, ReadDocument } from './document.ts';
import type { FederationRelationship, ForeignBundle } from './relationship.ts';

/** Keys that belong to somebody already. */
export interface KnownKeys {
  /** The trust domain with this key. `spkiSha256`: hex. Undefined: nobody's. */
  ownerOf(spkiSha256: string): string | undefined;
}

export interface JudgedBundle {
  readonly bundle: ForeignBundle;
  /** False: the keys and the sequence are those of the bundle held. */
  readonly changed: boolean;
  /** SHA-256 (hex) of the roots that the bundle held has, and this one has not. */
  readonly lostRoots: readonly string[];
  /** Key IDs of the JWT keys of which the same is true. */
  readonly lostJwtKeys: readonly string[];
  /** How many roots were left out, see ReadDocument. */
  readonly leftOut: number;
  /** Of `lostRoots`: the other side still has them, and the rules of this release leave them out. */
  readonly lostByRules: readonly string[];
}

/**
 * Whether a bundle document counts as the bundle of a foreign trust domain. A document does not say
 * whose it is: a root with the SPIFFE ID of another trust domain, or a key of another one, gives it
 * away. Fails with FEDERATION_BUNDLE_INVALID or FEDERATION_BUNDLE_ROLLED_BACK.
 */
export function judgeBundle(
  { leftOut, ...document }: ReadDocument,
  {
    relationship,
    held,
    accepted,
    known,
    now,
  }: {
    readonly relationship: Pick<FederationRelationship, 'id' | 'trustDomain'>;
    readonly held: ForeignBundle | undefined;
    /** What the log states of the bundle before, for when nothing is held. */
    readonly accepted: AcceptedBundle | undefined;
    readonly known: KnownKeys;
    readonly now: number;
  },
): Result<JudgedBundle> {
  const { trustDomain, id: relationshipId } = relationship;
  const foreign = keyOfAnother(document, trustDomain, known);
  if (foreign !== undefined) return fail('FEDERATION_BUNDLE_INVALID', foreign);
  const bundle: ForeignBundle = { trustDomain, relationshipId, ...document, receivedAt: now };
  const before = held ?? accepted;
  const counts = { bundle, leftOut: leftOut.length };
  if (before === undefined)
    return ok({ ...counts, changed: true, lostRoots: [], lostJwtKeys: [], lostByRules: [] });
  if (document.sequence < before.sequence)
    return fail(
      'FEDERATION_BUNDLE_ROLLED_BACK',
      `the bundle of ${trustDomain} has the sequence ${document.sequence}, and the one accepted ` +
        `before has ${before.sequence}`,
    );
  const stated = new Set(held?.roots.map(rootSha256) ?? accepted?.roots);
  // an earlier release, with other rules, may have accepted what is left out today
  const earlier = leftOut.filter((root) => stated.has(rootSha256(root)));
  const isAsBefore = (roots: readonly string[]): boolean =>
    held === undefined
      ? statedText(statementOf({ ...document, roots })) === statedText(accepted as AcceptedBundle)
      : keysText({ ...document, roots }) === keysText(held);
  const sameKeys = isAsBefore(document.roots);
  const sameGiven = sameKeys || isAsBefore([...document.roots, ...earlier]);
  if (document.sequence === before.sequence && document.sequence > 0 && !sameGiven)
    return fail(
      'FEDERATION_BUNDLE_ROLLED_BACK',
      `the bundle of ${trustDomain} has other keys than the one accepted before, under the same ` +
        `sequence ${document.sequence}`,
    );
  return ok({
    ...counts,
    lostByRules: earlier.map(rootSha256),
    changed:
      !sameKeys ||
      document.sequence !== before.sequence ||
      document.refreshHintSeconds !== held?.refreshHintSeconds,
    ...(held === undefined
      ? lostOf(statementOf(document), accepted as AcceptedBundle)
      : lostKeys(document, held)),
  });
}

export const rootSha256 = (root: string): string => sha256Hex(Buffer.from(root, 'base64'));

function lostKeys(
  document: ForeignDocument,
  held: ForeignBundle,
): Pick<JudgedBundle, 'lostRoots' | 'lostJwtKeys'> {
  const roots = new Set(document.roots);
  const jwtKeys = new Set(document.jwtKeys.map(jwtKeyText));
  return {
    lostRoots: held.roots.filter((root) => !roots.has(root)).map(rootSha256),
    lostJwtKeys: held.jwtKeys
      .filter((key) => !jwtKeys.has(jwtKeyText(key)))
      .map(({ keyId }) => keyId),
  };
}

type Statement = Pick<AcceptedBundle, 'roots' | 'jwtKeys'>;

/** A document as a record states it: digests of roots, and key IDs. */
const statementOf = ({
  roots,
  jwtKeys,
}: Pick<ForeignDocument, 'roots' | 'jwtKeys'>): Statement => ({
  roots: roots.map(rootSha256),
  jwtKeys: jwtKeys.map(({ keyId }) => keyId),
});

const statedText = ({ roots, jwtKeys }: Statement): string =>
  JSON.stringify([roots.toSorted(), jwtKeys.toSorted()]);

const lostOf = (
  stated: Statement,
  before: Statement,
): Pick<JudgedBundle, 'lostRoots' | 'lostJwtKeys'> => ({
  lostRoots: before.roots.filter((root) => !stated.roots.includes(root)),
  lostJwtKeys: before.jwtKeys.filter((keyId) => !stated.jwtKeys.includes(keyId)),
});

const jwtKeyText = ({ keyId, spki }: ForeignBundle['jwtKeys'][number]): string =>
  `${spki} ${keyId}`;

/** The order of keys in a document says nothing. */
const keysText = ({ roots, jwtKeys }: Pick<ForeignBundle, 'roots' | 'jwtKeys'>): string =>
  JSON.stringify([roots.toSorted(), jwtKeys.map(jwtKeyText).toSorted()]);

function keyOfAnother(
  { roots, jwtKeys }: ForeignDocument,
  trustDomain: string,
  known: KnownKeys,
): string | undefined {
  for (const root of roots) {
    const parsed = parseCertificate(Buffer.from(root, 'base64'));
    if (!parsed.ok) return `an X.509 authority: ${parsed.error.message}`;
    for (const uri of parsed.value.uriSans) {
      const id = SpiffeId.parse(uri);
      if (id.ok && id.value.trustDomain.name !== trustDomain)
        return `a root of the bundle has the SPIFFE ID ${uri}, which is not of ${trustDomain}`;
    }
    const owner = known.ownerOf(sha256Hex(parsed.value.spkiDer));
    if (owner !== undefined && owner !== trustDomain)
      return `a root of the bundle has a key of the trust domain ${owner}`;
  }
  for (const { keyId, spki } of jwtKeys) {
    const owner = known.ownerOf(sha256Hex(Buffer.from(spki, 'base64')));
    if (owner !== undefined && owner !== trustDomain)
      return `the JWT key ${JSON.stringify(keyId)} is a key of the trust domain ${owner}`;
  }
  return undefined;
}
