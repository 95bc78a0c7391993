import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyOperations } from '../../../../src/api/admin/policies.ts';
import type { OperationDependencies } from '../../../../src/api/operation.ts';
import type { OperatorCaller } from '../../../../src/services/callers/caller.ts';

const policy = (ttl: string): string => `
meshcaPolicy: 1
rules:
  - name: all
    effect: allow
  - name: long
    effect: deny
    ttl: {min: ${ttl}}
`;

test('approvers of a policy see the rules that change, as they stand in the file', async () => {
  const present = { version: 4, text: policy('1h') };
  const dependencies = {
    services: { policies: { get: async () => present } },
  } as unknown as OperationDependencies;
  const { preview } = policyOperations.ActivatePolicy;
  const request = { text: policy('2h'), version: 4, reason: 'longer lives' };
  const lines = await preview?.(dependencies, {} as OperatorCaller, request as never);
  assert.deepEqual(lines, [
    'activate a policy of issuance over version 4: longer lives',
    '- rule long: {"effect":"deny","name":"long","ttl":{"min":"1h"}}',
    '+ rule long: {"effect":"deny","name":"long","ttl":{"min":"2h"}}',
  ]);
});
