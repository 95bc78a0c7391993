import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  formOf,
  maximumExchangeBytes,
  parseTokenExchange,
} from '../../../../src/services/acme/token-exchange.ts';

const parsed = (form: string) =>
  parseTokenExchange({
    contentType: 'application/x-www-form-urlencoded',
    authorization: 'Bearer a.b.c',
    body: Buffer.from(form),
  });

const detailOf = (form: string): string => {
  const result = parsed(form);
  return result.ok ? 'accepted' : result.problem.detail;
};

test('a form has repeated names and addresses, up to their maximum', () => {
  const result = parsed('name=a.test&ip=192.0.2.1&name=b.test&profile=short');
  assert.deepEqual(result.ok && result.value, {
    ...{ token: 'a.b.c', dnsNames: ['a.test', 'b.test'], ips: ['192.0.2.1'] },
    ...{ profile: 'short', spiffeId: '' },
  });
  assert.equal(detailOf('name=a.test&'.repeat(200)), 'accepted');
  assert.match(detailOf('name=a.test&'.repeat(201)), /names: Too big.*200/);
});

test('a form is read up to the first field that is refused', () => {
  const most = Math.floor(maximumExchangeBytes / 'ip&'.length);
  assert.equal((formOf(Buffer.from('ip&'.repeat(most)))['ips'] as string[]).length, 201);
  for (const [form, fields] of [
    [`bogus=1&${'more=1&'.repeat(9)}other=1`, ['names', 'ips', 'the field bogus']],
    ['profile=a&profile=b&profile=c&spiffeId=d', ['names', 'ips', 'profile']],
  ] as const)
    assert.deepEqual(Object.keys(formOf(Buffer.from(form))), fields);
  assert.deepEqual(formOf(Buffer.from('profile=a&profile=b&profile=c'))['profile'], ['a', 'b']);
  assert.match(detailOf('bogus=1'), /Unrecognized key: "the field bogus"/);
  assert.match(detailOf('profile=a&profile=b'), /profile: Invalid input/);
  assert.match(detailOf('__proto__=a'), /the field __proto__/);
});
