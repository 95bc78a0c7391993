import { PkiError } from '../common/errors/index.ts';
import { errorFields, type Clock, type Logger } from '../common/runtime/index.ts';
import { isTrusted, maySign, type Authority, type BundleRevision } from '../domain/index.ts';
import { signatureOf } from '../hsm/signature-of.ts';
import type { Signers } from '../hsm/signing-port.ts';
import type { BundleStore } from '../store/ports/index.ts';
import { bundleDocument, issuerKeys, stepPayload } from './bundle-document.ts';
import type { BundleFloor } from './bundle-floor.ts';
import { joseAlgorithm } from './jwt.ts';

export interface BundlePublisherDependencies {
  readonly store: BundleStore;
  readonly signers: Pick<Signers, 'sign'>;
  readonly clock: Clock;
  readonly refreshHintSeconds: number;
  readonly floor: Pick<BundleFloor, 'sequence'>;
  readonly logger: Logger;
}

/**
 * Appends a bundle revision if the bundle of these authorities, or the issuing authorities that its
 * step names, differ from the latest one, or if agents may hold a later one (BundleFloor). A JWT
 * authority of the previous revision signs it; the first revision is signed by one of its own. So a
 * consumer that holds one revision can verify the next. Returns the latest revision in all cases.
 */
export async function publishBundle(
  authorities: readonly Authority[],
  dependencies: BundlePublisherDependencies,
): Promise<BundleRevision> {
  const { store, floor, refreshHintSeconds, logger } = dependencies;
  const latest = await store.latest();
  const lowest = floor.sequence();
  const isPresent =
    latest !== undefined &&
    bundleDocument(trustedOf(authorities), latest.sequence, refreshHintSeconds) ===
      latest.document &&
    stepPayload(latest.document, authorities) === payloadOf(latest);
  if (!isPresent) return append(authorities, latest, lowest, dependencies);
  if (latest.sequence >= lowest) return latest;
  try {
    return await append(authorities, latest, lowest, dependencies);
  } catch (thrown) {
    // a server whose token is away starts all the same
    logger.warn(
      { ...errorFields(thrown), sequence: latest.sequence, lowest },
      'agents may hold a later bundle than this server, and no later one could be signed',
    );
    return latest;
  }
}

const trustedOf = (authorities: readonly Authority[]): readonly Authority[] =>
  authorities.filter(({ state }) => isTrusted(state));

async function append(
  authorities: readonly Authority[],
  latest: BundleRevision | undefined,
  lowest: number,
  { store, signers, clock, refreshHintSeconds }: BundlePublisherDependencies,
): Promise<BundleRevision> {
  const trusted = trustedOf(authorities);
  const after = latest?.sequence ?? 0;
  const sequence = Math.max(after + 1, lowest);
  const document = bundleDocument(trusted, sequence, refreshHintSeconds);
  const candidates = signersFor(authorities, latest);
  if (candidates.length === 0)
    throw new PkiError('NO_ISSUER', 'no JWT authority of the present bundle can sign the next one');
  const payload = stepPayload(document, authorities);
  const { signer, jws } = await signedBy(candidates, payload, signers);
  const revision: BundleRevision = { sequence, document, jws, createdAt: clock.now() };
  const event = {
    timeMs: clock.nowMs(),
    actor: 'server',
    kind: 'bundle.published',
    subject: String(sequence),
    detail: {
      sequence,
      signer: signer.id,
      authorities: trusted
        .filter((authority) => authority.kind === 'root' || authority.kind === 'jwt')
        .map((authority) => authority.id),
      issuers: issuerKeys(authorities),
    },
  };
  await store.append(revision, event, after);
  return revision;
}

/** Of a step that this server made. */
const payloadOf = ({ jws }: BundleRevision): string =>
  Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString('utf8');

/** Signs with the first candidate whose token answers: a token may be lost. */
async function signedBy(
  candidates: readonly Authority[],
  payload: string,
  signers: Pick<Signers, 'sign'>,
): Promise<{ readonly signer: Authority; readonly jws: string }> {
  let failure: PkiError | undefined;
  for (const signer of candidates) {
    const header = {
      alg: joseAlgorithm(signer.keyType),
      kid: signer.ckaId,
      typ: 'meshca-bundle+jws',
    };
    const input = `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${Buffer.from(payload).toString('base64url')}`;
    try {
      const bytes = Buffer.from(input, 'ascii');
      const signature = await signatureOf(signers, { ckaId: signer.ckaId, bytes, format: 'jose' });
      return { signer, jws: `${input}.${signature.toString('base64url')}` };
    } catch (thrown) {
      failure ??= PkiError.from(thrown);
    }
  }
  throw failure ?? new PkiError('NO_ISSUER', 'no JWT authority can sign the bundle');
}

/** Active authorities first. */
function signersFor(
  authorities: readonly Authority[],
  latest: BundleRevision | undefined,
): readonly Authority[] {
  const candidates = authorities
    .filter(
      (authority) =>
        authority.kind === 'jwt' &&
        authority.spkiDer !== null &&
        (maySign(authority.state) || authority.state === 'old'),
    )
    .sort((a, b) => Number(maySign(b.state)) - Number(maySign(a.state)));
  if (latest === undefined) return candidates;
  const known = new Set(
    (JSON.parse(latest.document) as { keys: { kid?: string }[] }).keys.flatMap((key) =>
      key.kid === undefined ? [] : [key.kid],
    ),
  );
  return candidates.filter((authority) => known.has(authority.ckaId));
}
