import { PkiError, unwrap } from '../../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../../common/runtime/index.ts';
import { SpiffeId, type TrustDomain } from '../../common/spiffe/index.ts';
import { parseCertificate, sha256Hex, verifyChain } from '../../common/x509/index.ts';
import { assembleSigned, buildAuthorityTbs, lint, newSerial } from '../../certs/index.ts';
import { crossOf, hasOwnKey, type Authority, type TokenRole } from '../../domain/index.ts';
import type { TokenAdmin } from '../../hsm/contract.ts';
import type { AuthorityStore, IssuanceStore } from '../../store/ports/index.ts';
import { authorityEvent } from '../authority-maker.ts';

export interface CrossDependencies {
  readonly authorities: Pick<AuthorityStore, 'list' | 'create' | 'complete' | 'transition'>;
  readonly issuance: Pick<IssuanceStore, 'recordIntents' | 'finish'>;
  readonly openToken: (role: TokenRole) => Promise<TokenAdmin>;
  readonly trustDomain: TrustDomain;
  readonly clockSkewSeconds: number;
  readonly clock: Clock;
  readonly random: Random;
}

export interface CrossRequest {
  readonly actor: string;
  /** The root that somebody trusts already: active or old, with its key here. */
  readonly fromId: string;
  /** The root that he can't take in time. */
  readonly toId: string;
}

/**
 * A certificate of the new root's name and key signed by the old root, so that whoever has the old
 * root alone verifies what stands under the new one. It ends with the first of the two. On record
 * before it is signed, and kept as an authority of token `external`: published, in chains while
 * configured, until it is withdrawn; the old root stays trusted as long. Throws NOT_FOUND,
 * AUTHORITY_UNFIT, CONFLICT, ALREADY_EXISTS, HSM_*.
 */
export async function crossSign(
  { actor, fromId, toId }: CrossRequest,
  dependencies: CrossDependencies,
): Promise<Authority> {
  const { authorities, issuance, trustDomain, clock, random } = dependencies;
  const all = await authorities.list();
  const from = rootOf(fromId, all, ['active', 'old']);
  const to = rootOf(toId, all, ['published', 'active']);
  if (from.id === to.id)
    throw new PkiError('INVALID_REQUEST', 'a root needs no cross-certificate of itself');
  if (!hasOwnKey(from))
    throw new PkiError('AUTHORITY_UNFIT', `the key of root ${from.id} is not here`, {
      next: 'Have it signed where the key is: meshca ceremony.',
    });
  const present = crossOf(to, all).find(({ parentId }) => parentId === from.id);
  if (present !== undefined)
    throw new PkiError(
      'ALREADY_EXISTS',
      `root ${to.id} has a cross-certificate of ${from.id}: ${present.id}`,
    );
  const [issuer, subject] = [from, to].map(({ certificateDer }) =>
    unwrap(parseCertificate(certificateDer as Buffer)),
  );
  if (issuer === undefined || subject === undefined)
    throw new PkiError('INTERNAL', 'a root without a certificate');
  const { spkiDer, subjectDer } = subject;
  const notBefore = Math.max(
    clock.now() - dependencies.clockSkewSeconds,
    issuer.notBefore,
    subject.notBefore,
  );
  const notAfter = Math.min(issuer.notAfter, subject.notAfter);
  const serial = newSerial(clock.nowMs(), random);
  const tbsDer = buildAuthorityTbs({
    serial,
    profile: 'cross',
    issuer,
    spkiDer,
    trustDomain,
    subjectDer,
    notBefore,
    notAfter,
  });
  unwrap(
    lint(tbsDer, 'cross', {
      issuer,
      spkiDer,
      spiffeId: SpiffeId.of(trustDomain.id),
      subjectDer,
      notBefore,
      notAfter,
    }),
  );
  const [id, serialHex] = [uuidv7(clock.nowMs()), serial.toString('hex')];
  await issuance.recordIntents([
    {
      serial: serialHex,
      spiffeId: trustDomain.id,
      kind: 'authority',
      profile: 'authority',
      entryId: null,
      delegationId: null,
      requester: actor,
      holder: actor,
      publicKeySha256: sha256Hex(spkiDer),
      requestId: id,
      authorityId: from.id,
      createdAtMs: clock.nowMs(),
      notBefore,
      notAfter,
      replaces: null,
      tbsDer,
    },
  ]);
  const certificateDer = assembleSigned(
    tbsDer,
    from.keyType,
    await sign(from, tbsDer, dependencies),
  );
  unwrap(verifyChain({ chainDer: [certificateDer], roots: [issuer.raw], now: clock.now() }));
  const sha256 = sha256Hex(certificateDer);
  const [outcome] = await issuance.finish([
    {
      kind: 'signed',
      serial: serialHex,
      certificateDer,
      sha256,
      rights: { authorityId: from.id },
      event: {
        timeMs: clock.nowMs(),
        actor,
        kind: 'authority.cross',
        subject: id,
        detail: { serial: serialHex, sha256, from: from.id, to: to.id, notAfter },
      },
    },
  ]);
  if (outcome?.state !== 'issued')
    throw new PkiError(
      outcome?.state === 'withheld' ? outcome.code : 'WITHHELD',
      outcome?.state === 'withheld'
        ? outcome.message
        : 'the certificate was recorded and not released',
    );
  const record: Authority = {
    id,
    kind: 'issuing',
    state: 'preparing',
    version: 0,
    keyType: to.keyType,
    token: 'external',
    ckaId: sha256,
    parentId: from.id,
    scope: {},
    spkiDer: null,
    certificateDer: null,
    subjectKeyId: null,
    notBefore: 0,
    notAfter: 0,
    createdAt: clock.now(),
    activatedAt: null,
    taintedAt: null,
  };
  const event = (kind: string) =>
    authorityEvent(dependencies, actor, kind, record, {
      crossFrom: from.id,
      crossTo: to.id,
      sha256,
    });
  await authorities.create(record, event('authority.prepare'));
  const made = await authorities.complete(
    id,
    0,
    { spkiDer, certificateDer, subjectKeyId: subject.subjectKeyId as string, notBefore, notAfter },
    event('authority.prepared'),
  );
  return authorities.transition(
    id,
    made.version,
    'published',
    clock.now(),
    event('authority.published'),
  );
}

function rootOf(
  id: string,
  all: readonly Authority[],
  states: readonly Authority['state'][],
): Authority {
  const root = all.find((each) => each.id === id);
  if (root === undefined)
    throw new PkiError('NOT_FOUND', `there is no authority ${JSON.stringify(id.slice(0, 64))}`);
  if (root.kind !== 'root' || root.certificateDer === null)
    throw new PkiError('AUTHORITY_UNFIT', `authority ${id} is no root with a certificate`);
  if (!states.includes(root.state))
    throw new PkiError('CONFLICT', `root ${id} is ${root.state}, not ${states.join(' or ')}`);
  return root;
}

async function sign(
  root: Authority,
  tbsDer: Buffer,
  { openToken }: CrossDependencies,
): Promise<Buffer> {
  const token = await openToken(root.token);
  try {
    return await token.sign(
      { ckaId: root.ckaId, keyType: root.keyType, spkiDer: root.spkiDer as Buffer },
      tbsDer,
    );
  } finally {
    await token.close();
  }
}
