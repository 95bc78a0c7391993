import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../../common/runtime/index.ts';
import type { TrustDomain } from '../../common/spiffe/index.ts';
import { parseCertificate, type ParsedCertificate } from '../../common/x509/index.ts';
import {
  crossOf,
  hasOwnKey,
  isNamesAuthority,
  isRootKind,
  issuingKindBelow,
  preparingAuthority,
  type Authority,
  type Requester,
  type TokenRole,
} from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/token-port.ts';
import type { AuthorityStore } from '../../store/ports/index.ts';
import {
  admitAuthority,
  issueAuthorityCertificate,
  type AuthorityCertificate,
} from '../authority-certificate.ts';
import type { IssuancePolicy } from '../policy.ts';
import { authorityEvent } from '../authority-event.ts';
import { signerOf } from '../certificate-draft.ts';
import type { RecordedIssuance } from '../recorded.ts';
import { authoritySigner } from '../token-signer.ts';

export interface CrossDependencies {
  readonly authorities: Pick<AuthorityStore, 'list' | 'create' | 'complete' | 'transition'>;
  readonly recorded: RecordedIssuance;
  readonly issuancePolicy: IssuancePolicy;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly clockSkewSeconds: number;
  /** URL of the CRL of an authority whose key is ours; undefined: no CRL is published. */
  readonly crlUrl: (authorityId: string) => string | undefined;
  readonly clock: Clock;
  readonly random: Random;
}

export interface CrossRequest {
  readonly caller: Requester;
  /** The root that consumers already trust: active or old, with its key here. */
  readonly fromId: string;
  /** The root that some consumers can not receive in time. */
  readonly toId: string;
  /** If it is aborted before the intent is durable, nothing is recorded or signed (CANCELLED). */
  readonly signal?: AbortSignal | undefined;
}

/** A root with its parsed certificate. */
interface Root {
  readonly authority: Authority & { readonly kind: 'root' | 'names-root' };
  readonly certificate: ParsedCertificate;
}

/**
 * Issues a certificate with the new root's name and key, signed by the old root. A consumer with
 * only the old root can then verify chains of the new one. The certificate ends with the earlier
 * end of the two roots. It is recorded before it is signed, and kept as an authority of token
 * `external` in state `published`. It is part of chains while configured, until it is withdrawn.
 * The old root stays trusted as long.
 *
 * @throws PkiError NOT_FOUND, AUTHORITY_UNFIT, CONFLICT, ALREADY_EXISTS, HSM_*
 */
export async function crossSign(
  { caller, fromId, toId, signal }: CrossRequest,
  dependencies: CrossDependencies,
): Promise<Authority> {
  const { clock, clockSkewSeconds } = dependencies;
  const all = await dependencies.authorities.list();
  const from = rootOf(fromId, all, ['active', 'old']);
  const to = rootOf(toId, all, ['published', 'active']);
  requireSignable(from.authority, to.authority, all);
  const id = uuidv7(clock.nowMs());
  const life = {
    notBefore: Math.max(
      clock.now() - clockSkewSeconds,
      from.certificate.notBefore,
      to.certificate.notBefore,
    ),
    notAfter: Math.min(from.certificate.notAfter, to.certificate.notAfter),
  };
  const { keyType } = to.authority;
  const admission = admitAuthority(caller, { profile: 'cross', keyType }, dependencies);
  const crlUrl = dependencies.crlUrl(fromId);
  const issued = await issueAuthorityCertificate(
    {
      admission,
      profile: 'cross',
      names: isNamesAuthority(from.authority.kind),
      issuer: from.certificate,
      signer: signerOf(from.authority),
      spkiDer: to.certificate.spkiDer,
      subjectDer: to.certificate.subjectDer,
      subjectMarked: to.certificate.serverAuthority,
      ...(crlUrl === undefined ? {} : { crlUrl }),
      ...life,
      record: { requester: caller.name, holder: caller.name, requestId: id, entryId: null },
      rights: [],
      issuedAs: { kind: 'authority.cross', subject: id, detail: { from: fromId, to: toId } },
    },
    authoritySigner(from.authority, dependencies.openToken, signal),
    dependencies,
  );
  return publish({ id, actor: caller.name, from, to, life, issued }, dependencies);
}

function rootOf(
  id: string,
  all: readonly Authority[],
  states: readonly Authority['state'][],
): Root {
  const root = all.find((authority) => authority.id === id);
  if (root === undefined)
    throw new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
  const { kind } = root;
  if (!isRootKind(kind) || root.certificateDer === null)
    throw new PkiError('AUTHORITY_UNFIT', `authority ${id} is not a root with a certificate`);
  if (!states.includes(root.state))
    throw new PkiError('CONFLICT', `root ${id} is ${root.state}, not ${states.join(' or ')}`);
  return {
    authority: { ...root, kind },
    certificate: unwrap(parseCertificate(root.certificateDer)),
  };
}

function requireSignable(from: Authority, to: Authority, all: readonly Authority[]): void {
  if (from.id === to.id)
    throw new PkiError(
      'INVALID_REQUEST',
      'the two roots are the same: a root needs no cross-certificate from itself',
    );
  if (from.kind !== to.kind)
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `root ${from.id} is of kind ${from.kind}, and root ${to.id} of kind ${to.kind}: one ` +
        'hierarchy does not certify the other',
    );
  if (!hasOwnKey(from))
    throw new PkiError(
      'AUTHORITY_UNFIT',
      `the key of root ${from.id} is not in a token of this server`,
      {
        next: 'Sign the cross-certificate where the key is, with: meshca ceremony.',
      },
    );
  const present = crossOf(to, all).find(({ parentId }) => parentId === from.id);
  if (present !== undefined)
    throw new PkiError(
      'ALREADY_EXISTS',
      `root ${to.id} already has a cross-certificate from ${from.id}: ${present.id}`,
    );
}

/** Records the certificate as an authority in state `published`. */
async function publish(
  cross: {
    readonly id: string;
    readonly actor: string;
    readonly from: Root;
    readonly to: Root;
    readonly life: { readonly notBefore: number; readonly notAfter: number };
    readonly issued: AuthorityCertificate;
  },
  dependencies: CrossDependencies,
): Promise<Authority> {
  const { authorities, clock } = dependencies;
  const { id, actor, from, to, life, issued } = cross;
  const { certificateDer, sha256 } = issued;
  const record = preparingAuthority({
    id,
    kind: issuingKindBelow(to.authority.kind),
    keyType: to.authority.keyType,
    token: 'external',
    ckaId: sha256,
    parentId: from.authority.id,
    createdAt: clock.now(),
  });
  const event = (kind: string) =>
    authorityEvent(
      dependencies,
      { actor, kind, authority: record },
      {
        crossFrom: from.authority.id,
        crossTo: to.authority.id,
        sha256,
      },
    );
  await authorities.create(record, event('authority.prepare'));
  const { spkiDer, subjectKeyId } = to.certificate;
  const { version } = await authorities.complete(
    { id, version: record.version },
    { spkiDer, certificateDer, subjectKeyId: subjectKeyId as string, ...life },
    event('authority.prepared'),
  );
  return authorities.transition(
    { id, version, now: clock.now() },
    'published',
    event('authority.published'),
  );
}
