import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decide,
  type AlteredRow,
  type Authority,
  type Decision,
  type RotatedKind,
} from '../../../../src/domain/index.ts';

const now = 1_800_000_000;

const authority = (
  id: string,
  kind: RotatedKind,
  state: Authority['state'],
  over: Partial<Authority> = {},
): Authority => ({
  ...{ id, kind, state, version: 1, keyType: 'ec-p256', ckaId: id, scope: {} },
  token: kind === 'root' ? 'root' : 'issuing',
  parentId: kind === 'issuing' ? 'r1' : null,
  ...{ spkiDer: null, certificateDer: null, subjectKeyId: 'aa' },
  ...{ notBefore: now - 900_000, notAfter: now + 100_000, createdAt: now - 900_000 },
  ...{ activatedAt: now - 900_000, taintedAt: null, publishedAt: now - 900_000 },
  ...over,
});

const root = authority('r1', 'root', 'active', { notAfter: now + 90_000_000 });

function decided(authorities: readonly Authority[], altered: readonly AlteredRow[]): Decision {
  return decide({
    authorities: authorities.map((each) => ({
      ...{ authority: each, lastExpiry: 0, live: 0, liveUnreported: 0 },
    })),
    confirmations: new Map(),
    operations: [],
    altered,
    handshakes: new Map(),
    policy: {
      longestLeafSeconds: 3_600,
      longestJwtSeconds: 600,
      canaryLyingShare: 0.25,
      issuingLifeSeconds: 1_000_000,
      marginSeconds: 600,
      retireMarginSeconds: 60,
      names: { longestLeafSeconds: 7_200, issuingLifeSeconds: 86_400 },
      unseenSeconds: { root: 600, jwt: 900, 'names-root': 1_200 },
      prepareAtLifeFraction: 0.66,
      onDeadline: 'alert',
      imported: [],
      standby: ['issuing'],
    },
    now,
    clock: 'believed',
    dualControl: false,
  });
}

const begun = ({ actions }: Decision): readonly string[] =>
  actions.map((action) => ('kind' in action ? `${action.type} ${action.kind}` : action.type));

test('while the row of a rotation is altered, no other is begun in its place, and it is told', () => {
  const due = [root, authority('i1', 'issuing', 'active')];
  assert.deepEqual(begun(decided(due, [])), ['open issuing', 'standby issuing']);
  const altered: AlteredRow = { object: 'rotation', id: 'op', kind: 'issuing' };
  const { actions, notes } = decided(due, [altered]);
  assert.deepEqual(actions, []);
  const told = { code: 'ROTATION_ALTERED', authorityId: 'op', at: 0, alert: true };
  assert.deepEqual(
    notes.filter(({ alert }) => alert),
    [told],
  );
});

test('an altered authority holds up its chain, and no other kind', () => {
  const due = [root, authority('i1', 'issuing', 'active'), authority('j1', 'jwt', 'active')];
  const of = (kind: RotatedKind) =>
    begun(decided(due, [{ object: 'authority', id: 'gone', kind }]));
  assert.deepEqual(of('issuing'), ['open jwt']);
  assert.deepEqual(of('root'), ['open jwt']);
  assert.deepEqual(of('jwt'), ['open issuing', 'standby issuing']);
});

test('a root does not retire while an authority that may be below it is altered', () => {
  const old = [
    authority('r0', 'root', 'old'),
    root,
    authority('i1', 'issuing', 'active', { notAfter: now + 80_000_000, notBefore: now }),
  ];
  const types = (altered: readonly AlteredRow[]) =>
    decided(old, altered).actions.map(({ type }) => type);
  assert.ok(types([]).includes('retire'));
  assert.deepEqual(types([{ object: 'authority', id: 'i0', kind: 'issuing' }]), []);
});

test('a taint reaches the authorities below a root also while another row is altered', () => {
  const tainted = [
    authority('r1', 'root', 'tainted', { taintWindowSeconds: 5 }),
    authority('i1', 'issuing', 'active'),
  ];
  const { actions } = decided(tainted, [{ object: 'authority', id: 'i0', kind: 'issuing' }]);
  assert.deepEqual(
    actions.map(({ type }) => type),
    ['taint'],
  );
});
