import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  afterResponse,
  afterVerdict,
  authorizationAt,
  orderStatusAt,
  type Authorization,
  type Challenge,
} from '../../../../src/domain/acme/index.ts';

const now = 1_800_000_000;
const challenge = (type: Challenge['type'], more: Partial<Challenge> = {}): Challenge => ({
  type,
  status: 'pending',
  validatedAt: null,
  problem: null,
  ...more,
});
const authorization = (more: Partial<Authorization> = {}): Authorization => ({
  identifier: { type: 'dns', value: 'app.test' },
  wildcard: false,
  status: 'pending',
  shownBy: 'challenge',
  expiresAt: now + 3600,
  token: 'token',
  challenges: [challenge('http-01'), challenge('dns-01')],
  ...more,
});
const open = { stage: 'open', expiresAt: now + 3600 } as const;
const statusOf = (
  more: { readonly stage?: 'finalizing' | 'issued' | 'failed' },
  authorizations: readonly Authorization[],
  at = now,
) => orderStatusAt({ ...open, ...more, authorizations }, at);
const life = { now, validSeconds: 86_400 };

describe('the status of an order', () => {
  const valid = authorization({ status: 'valid' });
  it('is pending until every authorization is valid, then ready', () => {
    assert.equal(statusOf({}, [valid, authorization()]), 'pending');
    assert.equal(statusOf({}, [valid, valid]), 'ready');
  });

  for (const status of ['invalid', 'deactivated', 'revoked'] as const)
    it(`is invalid with an authorization that is ${status}`, () => {
      assert.equal(statusOf({}, [valid, authorization({ status })], now), 'invalid');
    });

  it('is invalid after its end, or after that of an authorization', () => {
    assert.equal(statusOf({}, [valid], open.expiresAt), 'ready');
    assert.equal(statusOf({}, [valid], open.expiresAt + 1), 'invalid');
    assert.equal(statusOf({}, [authorization({ expiresAt: now - 1 })], now), 'invalid');
  });

  it('rests on its own stage once it is finalized, whatever becomes of its authorizations', () => {
    const revoked = [authorization({ status: 'revoked' })];
    const late = now + 1_000_000;
    assert.equal(statusOf({ stage: 'finalizing' }, revoked, late), 'processing');
    assert.equal(statusOf({ stage: 'issued' }, revoked, late), 'valid');
    assert.equal(statusOf({ stage: 'failed' }, [valid], now), 'invalid');
  });
});

describe('an authorization', () => {
  it('expires while it is pending or valid, and in no other state', () => {
    const late = now + 3601;
    assert.equal(authorizationAt(authorization(), late), 'expired');
    assert.equal(authorizationAt(authorization({ status: 'valid' }), late), 'expired');
    assert.equal(authorizationAt(authorization({ status: 'revoked' }), late), 'revoked');
  });

  it('is valid after a valid challenge, from then on for its own time', () => {
    const asked = afterResponse(authorization(), 'http-01', now) as Authorization;
    const after = afterVerdict(asked, 'http-01', { valid: true, at: now }, life);
    assert.equal(after?.status, 'valid');
    assert.equal(after.expiresAt, now + 86_400);
    assert.deepEqual(
      after.challenges.map(({ status, validatedAt }) => [status, validatedAt]),
      [
        ['valid', now],
        ['pending', null],
      ],
    );
  });

  it('is invalid after a failed challenge, which keeps the problem', () => {
    const asked = afterResponse(authorization(), 'dns-01', now) as Authorization;
    const problem = { type: 'dns', detail: 'SERVFAIL' };
    const after = afterVerdict(asked, 'dns-01', { valid: false, problem }, life);
    assert.equal(after?.status, 'invalid');
    assert.deepEqual(after.challenges[1]?.problem, problem);
  });

  it('changes by one verdict only, and never without a response before it', () => {
    const valid = { valid: true, at: now } as const;
    assert.equal(afterVerdict(authorization(), 'http-01', valid, life), undefined);
    assert.equal(afterVerdict(authorization(), 'tls-alpn-01', valid, life), undefined);
    const both = afterResponse(
      afterResponse(authorization(), 'http-01', now) as Authorization,
      'dns-01',
      now,
    ) as Authorization;
    const failed = afterVerdict(
      both,
      'dns-01',
      { valid: false, problem: { type: 'dns', detail: '' } },
      life,
    ) as Authorization;
    assert.equal(afterVerdict(failed, 'http-01', valid, life), undefined);
  });

  for (const status of ['valid', 'invalid', 'deactivated', 'revoked'] as const)
    it(`that is ${status} takes neither response nor verdict`, () => {
      const decided = authorization({
        status,
        challenges: [challenge('http-01', { status: 'processing' }), challenge('dns-01')],
      });
      assert.equal(afterResponse(decided, 'dns-01', now), undefined);
      assert.equal(afterVerdict(decided, 'http-01', { valid: true, at: now }, life), undefined);
    });

  it('takes no verdict after its end: a slow validation makes nothing valid', () => {
    const asked = afterResponse(authorization(), 'http-01', now) as Authorization;
    const late = { ...life, now: now + 3601 };
    assert.equal(afterVerdict(asked, 'http-01', { valid: true, at: now }, late), undefined);
  });

  it('takes a second response as the first', () => {
    const asked = afterResponse(authorization(), 'http-01', now) as Authorization;
    assert.equal(afterResponse(asked, 'http-01', now), undefined);
  });
});
