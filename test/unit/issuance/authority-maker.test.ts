import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, unwrap } from '../../../src/common/errors/index.ts';
import { systemRandom } from '../../../src/common/runtime/index.ts';
import { parseCertificate } from '../../../src/common/x509/index.ts';
import type { AuditFilter, AuthorityVersion } from '../../../src/store/ports/index.ts';
import {
  canonicalBytes,
  type AuditEvent,
  type AuditRecord,
  type Authority,
} from '../../../src/domain/index.ts';
import {
  completeAuthority,
  recordAuthority,
  type IssuancePolicy,
} from '../../../src/issuance/index.ts';
import { FakeClock } from '../../support/agent.ts';
import {
  authority,
  day,
  newKey,
  OneKeyToken,
  recordedWorld,
  trustDomain,
} from './authorities-support.ts';
import { passThroughPolicy } from '../../support/pass-through-policy.ts';

/** An audit store over a list of events. */
const auditOver = (events: AuditEvent[]) => ({
  append: async (more: readonly AuditEvent[]) => void events.push(...more),
  list: async ({ kind, subject }: AuditFilter) => ({
    items: events
      .filter((event) => event.kind === kind && event.subject === subject)
      .slice(-1)
      .map(
        (event, index): AuditRecord => ({
          ...event,
          sequence: index + 1,
          canonical: canonicalBytes(event),
          sha256: '',
        }),
      ),
    next: undefined,
  }),
});

function world() {
  const clock = new FakeClock();
  const rootKey = newKey();
  const root = authority(clock, 'root', rootKey);
  const store = recordedWorld(clock);
  const completed: Authority[] = [];
  const events: AuditEvent[] = [];
  const state: { policy: IssuancePolicy } = { policy: passThroughPolicy };
  const dependencies = {
    authorities: {
      create: async () => {},
      complete: async ({ version }: AuthorityVersion, made: Partial<Authority>) => {
        completed.push({ ...root.record, ...made, state: 'prepared', version: version + 1 });
        return completed.at(-1) as Authority;
      },
    },
    audit: auditOver(events),
    recorded: store.recorded,
    issuancePolicy: {
      decide: (...asked: Parameters<IssuancePolicy['decide']>) => state.policy.decide(...asked),
    },
    trustDomain,
    plans: {
      root: { keyType: 'ec-p256' as const, lifeSeconds: 10 * day },
      issuing: { keyType: 'ec-p256' as const, lifeSeconds: 90 * day },
    },
    clockSkewSeconds: 300,
    crlUrl: (id: string) => `http://ca.example.test/crl/${id}.crl`,
    clock,
    random: systemRandom,
  };
  /** A new root, or an issuing authority below the root that stands. */
  const make = async (
    kind: 'root' | 'issuing',
    signingToken: OneKeyToken,
    again?: Authority,
  ): Promise<Authority> => {
    const parent = kind === 'root' ? undefined : root.record;
    const record =
      again ?? (await recordAuthority({ kind, parentId: parent?.id ?? null }, dependencies));
    const own = kind === 'root' ? signingToken : new OneKeyToken(newKey());
    return completeAuthority(
      {
        authority: record,
        parent,
        token: await own.open(),
        signingToken: await signingToken.open(),
      },
      dependencies,
    );
  };
  const recordOnly = () =>
    recordAuthority({ kind: 'issuing', parentId: root.record.id }, dependencies);
  const rootToken = new OneKeyToken(rootKey);
  return { ...store, clock, root, rootToken, completed, events, state, recordOnly, make };
}

test('a new authority is recorded before its parent signs, and ends with its parent', async () => {
  const w = world();
  const made = await w.make('issuing', w.rootToken);
  const certificate = unwrap(parseCertificate(made.certificateDer as Buffer));
  assert.equal(w.intents[0]?.serial, certificate.serialHex);
  assert.deepEqual(certificate.crlDistributionPoints, [
    `http://ca.example.test/crl/${w.root.record.id}.crl`,
  ]);
  assert.equal(certificate.notAfter, w.root.certificate.notAfter);
  const [end] = w.finished;
  assert.ok(end?.kind === 'signed');
  assert.equal(end.event.kind, 'authority.certified');
  assert.deepEqual(end.rights, [
    {
      kind: 'authority',
      id: w.root.record.id,
      states: ['prepared', 'published', 'active', 'old'],
    },
    { kind: 'key', publicKeySha256: w.intents[0]?.publicKeySha256 },
    { kind: 'policy', version: 0 },
  ]);
});

test('a root signs itself while it is being prepared, and never later', async () => {
  const w = world();
  const made = await w.make('root', new OneKeyToken(newKey()));
  const certificate = unwrap(parseCertificate(made.certificateDer as Buffer));
  assert.ok(certificate.issuerDer.equals(certificate.subjectDer));
  const [end] = w.finished;
  assert.ok(end?.kind === 'signed' && end.rights[0]?.kind === 'authority');
  assert.deepEqual(end.rights[0].states, ['preparing']);
  assert.equal(end.rights[0].id, w.intents[0]?.requestId);
});

test('an authority whose certificate is not signed stays preparing, its intent abandoned at once', async () => {
  const w = world();
  w.rootToken.failing = true;
  await assert.rejects(w.make('issuing', w.rootToken), { code: 'HSM_UNAVAILABLE' });
  assert.deepEqual(
    w.finished.map(({ kind, serial }) => [kind, serial]),
    [['abandoned', w.intents[0]?.serial]],
  );
  assert.deepEqual(w.completed, []);
});

test('an authority whose parent was tainted while it signed is not completed', async () => {
  const w = world();
  w.ending.code = 'AUTHORITY_TAINTED';
  await assert.rejects(w.make('issuing', w.rootToken), { code: 'AUTHORITY_TAINTED' });
  assert.equal(w.finished[0]?.kind, 'signed');
  assert.deepEqual(w.completed, []);
});

test('a certificate that the policy refuses is on record once, however often it is tried', async () => {
  const w = world();
  const refuse = (reason: string): IssuancePolicy => ({
    decide: () => ({ allowed: false, version: 7, reason }),
  });
  const authority = await w.recordOnly();
  for (const reason of ['too soon', 'too soon', 'not on a Sunday']) {
    w.state.policy = refuse(reason);
    await assert.rejects(w.make('issuing', w.rootToken, authority), (thrown: unknown) => {
      const { code, message } = PkiError.from(thrown);
      return code === 'POLICY_DENIED' && message === reason;
    });
  }
  assert.deepEqual(
    w.events.map(({ kind, actor, subject, detail }) => [
      kind,
      actor,
      subject,
      detail['code'],
      detail['message'],
    ]),
    ['too soon', 'not on a Sunday'].map((reason) => [
      'certificate.refused',
      'server',
      authority.id,
      'POLICY_DENIED',
      reason,
    ]),
  );
  assert.deepEqual([w.intents, w.completed], [[], []]);
  w.state.policy = passThroughPolicy;
  await w.make('issuing', w.rootToken, authority);
  assert.equal(w.completed.length, 1);
});
