import {
  allShares,
  decide,
  type Authority,
  type Confirmation,
  type DecisionInput,
  type RotatedKind,
  type RotationOperation,
  type RotationPolicy,
} from '../../../../src/domain/index.ts';

export const now = 1_800_000_000;
export const policy: RotationPolicy = {
  longestLeafSeconds: 3_600,
  longestJwtSeconds: 600,
  canaryLyingShare: 0.25,
  issuingLifeSeconds: 86_400,
  marginSeconds: 600,
  retireMarginSeconds: 60,
  names: { longestLeafSeconds: 7_200, issuingLifeSeconds: 86_400 },
  unseenSeconds: { root: 600, jwt: 900, 'names-root': 1_200 },
  prepareAtLifeFraction: 0.66,
  onDeadline: 'alert',
  imported: [],
};

export const authority = (
  id: string,
  kind: RotatedKind,
  state: Authority['state'],
  over: Partial<Authority> = {},
): Authority => ({
  id,
  kind,
  state,
  version: 1,
  keyType: 'ec-p256',
  token: kind === 'root' ? 'root' : 'issuing',
  ckaId: id,
  parentId: kind === 'issuing' ? 'r1' : null,
  scope: {},
  spkiDer: null,
  certificateDer: null,
  subjectKeyId: 'aa',
  notBefore: now - 1_000,
  notAfter: now + 1_000_000,
  createdAt: now - 1_000,
  activatedAt: state === 'active' ? now - 500 : null,
  taintedAt: null,
  publishedAt: now - 1_000,
  ...over,
});
export const operation = (
  over: Partial<RotationOperation['spec']> = {},
  kind: RotatedKind = 'issuing',
): RotationOperation => ({
  id: 'op',
  kind,
  state: 'running',
  version: 0,
  createdBy: 'uid:0',
  createdAt: now,
  updatedAt: now,
  spec: {
    successorId: 'new',
    targets: ['old'],
    targetsBecome: 'old',
    parentId: null,
    trigger: 'operator',
    shares: allShares,
    ...over,
  },
});
export const complete: Confirmation = {
  proven: { needed: 2, confirmed: 2, laggards: [] },
  inferred: { needed: 0, confirmed: 0, until: 0, holders: [] },
  unprovable: { until: 0 },
};
export const lagging: Confirmation = {
  ...complete,
  proven: { needed: 2, confirmed: 1, laggards: [] },
};

export function input(
  authorities: readonly Authority[],
  over: Partial<DecisionInput> = {},
): DecisionInput {
  return {
    authorities: authorities.map((each) => ({
      authority: each,
      lastExpiry: 0,
      live: 0,
      liveUnreported: 0,
    })),
    confirmations: new Map(),
    operations: [],
    handshakes: new Map(),
    policy,
    now,
    clock: 'believed',
    dualControl: false,
    ...over,
  };
}
export const actionTypes = (given: DecisionInput): readonly string[] =>
  decide(given).actions.map(({ type }) => type);
export const noteCodes = (given: DecisionInput): readonly string[] =>
  decide(given).notes.map(({ code }) => code);

export const root = authority('r1', 'root', 'active', { notAfter: now + 10_000_000 });
export const published = [
  root,
  authority('old', 'issuing', 'active'),
  authority('new', 'issuing', 'published', { publishedAt: now - 100 }),
];

export const hollow: Confirmation = {
  ...complete,
  proven: { needed: 0, confirmed: 0, laggards: [] },
};
export const endedIssuer = authority('old', 'issuing', 'active', {
  notBefore: now - 9_000,
  notAfter: now,
});
export const successor = authority('new', 'issuing', 'published', { publishedAt: now - 1 });
export const scheduled = operation({ trigger: 'schedule' });
