import { createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import { unwrap } from '../../../../src/common/errors/index.ts';
import {
  systemClock,
  systemRandom,
  uuidv7,
  type Clock,
} from '../../../../src/common/runtime/index.ts';
import { SpiffeId, TrustDomain } from '../../../../src/common/spiffe/index.ts';
import {
  createCsr,
  parseCertificate,
  sha256Hex,
  spkiOf,
} from '../../../../src/common/x509/index.ts';
import { assembleSigned, buildAuthorityTbs, newSerial } from '../../../../src/certs/index.ts';
import {
  linkerdName,
  linkerdServingName,
  linkerdSuffix,
  spiffeSubject,
  type AuditEvent,
  type Authority,
  type CertificateRecord,
  type Intent,
} from '../../../../src/domain/index.ts';
import type { SignItem, SignOutcome } from '../../../../src/hsm/signing-port.ts';
import {
  createIssuer,
  createRecordedIssuance,
  type IssuancePolicy,
  type LeafRequest,
  type PipelineDependencies,
} from '../../../../src/issuance/index.ts';
import type { FinishItem, FinishOutcome } from '../../../../src/store/ports/index.ts';
import { nextTurn } from '../../../support/until.ts';
import { passThroughPolicy } from '../../../support/pass-through-policy.ts';

export const linkerd = { namespace: 'linkerd', trustDomain: 'cluster.local' } as const;
const trustDomain = TrustDomain.of('mesh.test');
const now = Math.floor(Date.now() / 1000);

function softwareAuthority(
  kind: 'root' | 'issuing',
  lifeSeconds: number,
  parent?: { key: ReturnType<typeof createPrivateKey>; authority: Authority },
) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const spkiDer = spkiOf(privateKey);
  const tbs = buildAuthorityTbs({
    serial: newSerial(Date.now(), systemRandom),
    profile: kind === 'root' ? 'root' : 'intermediate',
    issuer: parent
      ? unwrap(parseCertificate(parent.authority.certificateDer as Buffer))
      : undefined,
    spkiDer,
    trustDomain,
    notBefore: now - 300,
    notAfter: now + lifeSeconds,
  });
  const certificateDer = assembleSigned(
    tbs,
    'ec-p256',
    sign('sha256', tbs, parent?.key ?? privateKey),
  );
  const authority: Authority = {
    id: uuidv7(),
    kind,
    state: 'active',
    version: 3,
    keyType: 'ec-p256',
    token: kind === 'root' ? 'root' : 'issuing',
    ckaId: `${kind}01`,
    parentId: parent?.authority.id ?? null,
    scope: {},
    spkiDer,
    certificateDer,
    subjectKeyId: unwrap(parseCertificate(certificateDer)).subjectKeyId ?? null,
    notBefore: now - 300,
    notAfter: now + lifeSeconds,
    createdAt: now,
    activatedAt: now,
    taintedAt: null,
  };
  return { key: privateKey, authority };
}

export const root = softwareAuthority('root', 10 * 86_400);
export const issuing = softwareAuthority('issuing', 5 * 86_400, root);
export const requesterKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
interface World {
  readonly log: string[];
  readonly intents: Intent[];
  readonly finished: FinishItem[];
  readonly refusals: AuditEvent[];
  outcome: (item: SignItem) => SignOutcome;
  finish: (item: FinishItem) => FinishOutcome;
  recorded: CertificateRecord | undefined;
  decide: IssuancePolicy['decide'];
  recordFails: boolean;
  /** What a commit of intents waits for. */
  committing: Promise<void>;
  /** Commits of intents that have begun. */
  commits: number;
  issuerAvailable: boolean;
  issuerKind: 'issuing' | 'names-issuing';
  /** Shards of which a place was given back. */
  readonly givenBack: number[];
}

// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
export function world(
  clock: Clock = systemClock,
): World & { issuer: ReturnType<typeof createIssuer> } {
  const state: World = {
    log: [],
    intents: [],
    finished: [],
    refusals: [],
    recorded: undefined,
    decide: passThroughPolicy.decide,
    recordFails: false,
    committing: Promise.resolve(),
    commits: 0,
    issuerAvailable: true,
    issuerKind: 'issuing',
    givenBack: [],
    outcome: (item) => ({ ok: true, signature: sign('sha256', item.bytes, issuing.key) }),
    finish: () => ({ state: 'issued' }),
  };
  const recorded = createRecordedIssuance({
    quotas: { ends: () => [] },
    blockedKeys: { get: () => undefined },
    clock,
    store: {
      recordIntents: async (intents) => {
        state.commits += 1;
        await nextTurn();
        await state.committing;
        if (state.recordFails) throw new Error('disk full');
        state.log.push('intents');
        state.intents.push(...intents);
      },
      finish: async (items) => {
        await new Promise((resolve) => setImmediate(resolve));
        state.log.push('finish');
        state.finished.push(...items);
        return items.map((item) =>
          item.kind === 'signed' ? state.finish(item) : { state: item.kind },
        );
      },
    },
  });
  const dependencies: PipelineDependencies = {
    recorded,
    issuancePolicy: { decide: (request, caller) => state.decide(request, caller) },
    store: { findRequests: async (keys) => keys.map(() => state.recorded) },
    audit: { append: async (events) => void state.refusals.push(...events) },
    signers: {
      sign: async (items) => {
        state.log.push('sign');
        return items.map((item) => state.outcome(item));
      },
    },
    authorities: {
      chainDer: () => [issuing.authority.certificateDer as Buffer],
      issuerFor: () =>
        state.issuerAvailable
          ? {
              authority: { ...issuing.authority, kind: state.issuerKind },
              certificate: unwrap(parseCertificate(issuing.authority.certificateDer as Buffer)),
            }
          : undefined,
    },
    jwt: { issue: () => Promise.reject(new Error('not here')) },
    clock,
    options: {
      clock,
      random: systemRandom,
      leafBackdateSeconds: 30,
      minimumTtlSeconds: 10,
      assignShard: (id) => ({
        shard: 5,
        url: `http://ca.mesh.test/crl/${id}/5.crl`,
        isNew: true,
      }),
      giveBackShard: (_, shard) => void state.givenBack.push(shard),
      issuerUrl: (id) => `http://ca.mesh.test/crl/${id}.cer`,
      ocspUrl: (id) => `http://ca.mesh.test/ocsp/${id}`,
      reservedDnsNames: [
        'ca.mesh.test',
        linkerdServingName(linkerd),
        `*.${linkerdSuffix(linkerd)}`,
      ],
      isAuthorityKey: (digest) => digest === sha256Hex(issuing.authority.spkiDer as Buffer),
    },
    observe: { issued: () => {}, refused: () => {} },
  };
  return Object.assign(state, { issuer: createIssuer(dependencies) });
}

export const request = (over: Partial<LeafRequest> = {}): LeafRequest => ({
  requestId: uuidv7(),
  csrDer: createCsr(requesterKey),
  subject: spiffeSubject(SpiffeId.of('spiffe://mesh.test/web')),
  kind: 'workload',
  profile: 'short-lived',
  ttlSeconds: 3600,
  caller: { class: 'agent', name: 'spiffe://mesh.test/meshca/agent/n1' },
  holder: 'spiffe://mesh.test/meshca/agent/n1',
  entryId: 'web',
  delegationId: null,
  replaces: null,
  rights: [],
  reason: { selectors: ['unix:uid:1'] },
  ...over,
});

export const proxyName = linkerdName(linkerd, { namespace: 'emojivoto', serviceAccount: 'web' });
