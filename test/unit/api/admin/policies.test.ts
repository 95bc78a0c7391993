import assert from 'node:assert/strict';
import { test } from 'node:test';
import { policyOperations } from '../../../../src/api/admin/policies.ts';
import type { OperationDependencies } from '../../../../src/api/operation.ts';
import { PkiError } from '../../../../src/common/errors/index.ts';
import type { OperatorCaller } from '../../../../src/services/callers/caller.ts';
import type { RenewalStep } from '../../../../src/services/services.ts';

const policy = (ttl: string): string => `
meshcaPolicy: 1
rules:
  - name: all
    effect: allow
  - name: long
    effect: deny
    ttl: {min: ${ttl}}
`;

const request = { text: policy('2h'), version: 4, reason: 'longer lives' };
const title = 'activate a policy of issuance over version 4: longer lives';
const rules = [
  '- rule long: {"effect":"deny","name":"long","ttl":{"min":"1h"}}',
  '+ rule long: {"effect":"deny","name":"long","ttl":{"min":"2h"}}',
];

async function previewed(review: () => Promise<AsyncIterable<RenewalStep>>) {
  const dependencies = {
    services: {
      policies: { get: async () => ({ version: 4, text: policy('1h') }) },
      policyReviews: { renewalLosses: review },
    },
  } as unknown as OperationDependencies;
  const { preview } = policyOperations.ActivatePolicy;
  return preview?.(dependencies, {} as OperatorCaller, request as never);
}

test('approvers of a policy see the rules that change, and who would lose the renewal', async () => {
  async function* steps(): AsyncGenerator<RenewalStep> {
    yield { type: 'progress', progress: { records: 250, atMs: 1 } };
    yield {
      type: 'end',
      losses: [
        {
          identity: 'spiffe://mesh.test/web',
          kind: 'workload',
          rule: 'long',
          certificates: 3,
          nextRenewal: 1,
          liveUntil: 2,
        },
      ],
      totals: {
        identities: 2,
        certificates: 4,
        live: 9,
        unknown: 1,
        records: 250,
        unproven: 0,
        complete: true,
        version: 4,
      },
    };
  }
  assert.deepEqual(await previewed(async () => steps()), [
    title,
    '2 live identities with 4 of 9 live certificates would lose their renewal',
    '1 live certificates are not known: their records have no facts',
    '  spiffe://mesh.test/web (workload, 3): rule long denies it',
    '  and 1 more',
    ...rules,
  ]);
});

test('an operation whose losses can not be told is shown all the same', async () => {
  const lines = await previewed(() =>
    Promise.reject(new PkiError('CONFLICT', 'the policy is at version 5, not 4')),
  );
  assert.deepEqual(lines, [
    title,
    'the identities that would lose their renewal are not known: the policy is at version 5, not 4 (CONFLICT)',
    ...rules,
  ]);
});
