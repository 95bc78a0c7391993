import assert from 'node:assert/strict';
import { test } from 'node:test';
import { orderMessage } from '../../../src/api/messages/acme.ts';
import { explainOrder } from '../../../src/cli/acme-explain.ts';
import type { AcmeAccount__Output } from '../../../src/common/wire/generated/meshca/admin/v1/AcmeAccount.ts';
import type { AcmeOrder__Output } from '../../../src/common/wire/generated/meshca/admin/v1/AcmeOrder.ts';
import type { EabKey__Output } from '../../../src/common/wire/generated/meshca/admin/v1/EabKey.ts';
import type { AcmeOrder, Challenge } from '../../../src/domain/index.ts';
import { authorization, order } from '../../compliance/store/acme-fixtures.ts';
import { start } from '../../compliance/store/fixtures.ts';

const account = { status: 'valid' } as AcmeAccount__Output;
const key = { revokedAt: 0, expiresAt: 0, ended: '' } as EabKey__Output;
const explain = (changes: Partial<AcmeOrder>, parts: object = {}, now = start): string =>
  explainOrder({
    order: orderMessage(order(changes), now) as AcmeOrder__Output,
    ...{ account, key, now, ...parts },
  }).join('\n');

const failed = authorization({
  status: 'invalid',
  challenges: [
    {
      ...{ type: 'http-01', status: 'invalid', validatedAt: null },
      problem: {
        type: 'urn:ietf:params:acme:error:connection',
        detail: '192.0.2.1 did not answer on port 80.',
      },
    },
    { type: 'dns-01', status: 'pending', validatedAt: null, problem: null },
  ],
});

test('an order is explained by what was tried for each name, what was seen, and what to do', () => {
  const pending = explain({});
  assert.match(pending, /^The order is for www\.shop\.example\.org, by the account account/);
  assert.match(pending, /is pending: the client asked for no validation. Offered are http-01\./);
  assert.match(pending, /Next: the client shows the names that are pending/);

  const refused = explain({ authorizations: [failed] });
  assert.match(
    refused,
    /is invalid: http-01 failed: \S+connection: 192\.0\.2\.1 did not answer on port 80\.$/m,
  );
  assert.match(refused, /It is invalid, because www\.shop\.example\.org is invalid\./);
  assert.match(refused, /Next: the server could not reach the name\. .*allowedNetworks/);

  const owned = authorization({ status: 'valid', shownBy: 'owner', challenges: [] });
  const ready = explain({ authorizations: [{ ...owned, wildcard: true }] });
  assert.match(ready, /\*\.www\.shop\.example\.org is valid: its tenant owns it/);
  assert.match(ready, /Next: look at the client/);

  assert.match(explain({ stage: 'issued', serial: 'aa' }), /certificate has the serial aa\.$/);
  assert.match(explain({ stage: 'finalizing' }), /is being issued\. If the token/);
  const problem = { type: 'urn:ietf:params:acme:error:caa', detail: 'example.org forbids it' };
  assert.match(
    explain({ stage: 'failed', problem }),
    /refused: \S+caa: example\.org[\s\S]*acme\.caaIdentities/,
  );
  assert.match(explain({}, {}, start + 3601), /is expired[\s\S]*It is invalid, because/);
});

test('an order says what vantage agents saw, and what its challenges wait for', () => {
  const challenge: Challenge = {
    type: 'http-01',
    status: 'processing',
    validatedAt: null,
    problem: { type: 'serverInternal', detail: 'too few have looked.' },
    perspectives: [
      { name: 'west', result: 'agreed', code: '', seenAt: ['10.0.0.1 port 80'] },
      { name: 'east', result: 'disagreed', code: 'dns', seenAt: [] },
      { name: 'north', result: 'absent', code: 'not-connected', seenAt: [] },
    ],
  };
  const text = explain({ authorizations: [authorization({ challenges: [challenge] })] });
  assert.match(text, /is pending: http-01 waits: too few have looked\.$/m);
  assert.match(text, /^- west sees the same, at 10\.0\.0\.1 port 80\.$/m);
  assert.match(text, /^- east sees something else: dns\.$/m);
  assert.match(text, /^- north has not looked: none of its agents is connected\.$/m);
});

test('an order of an account or key that has ended says so', () => {
  assert.match(explain({}, { account: { status: 'revoked' } }), /Its account is revoked: nothing/);
  assert.match(
    explain({}, { key: { ...key, revokedAt: start } }),
    /EAB key was revoked .*: nothing/,
  );
  assert.match(explain({}, { key: { ...key, expiresAt: start } }), /EAB key expired .*: nothing/);
  const ended = 'the key k ended with its source: delegation d was revoked';
  assert.match(
    explain({}, { key: { ...key, ended } }),
    /Nothing is issued by its EAB key: .* delegation d was revoked\./,
  );
  assert.doesNotMatch(explain({}, { account: undefined, key: undefined }), /nothing is issued/);
});
