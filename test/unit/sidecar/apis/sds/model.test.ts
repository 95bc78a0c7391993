import assert from 'node:assert/strict';
import { test } from 'node:test';
import { playSecrets, type SdsModelOptions } from '../../../../support/sds-model.ts';

const histories = 3000;
const steps = 150;
const kinds = ['full', 'delta'] as const;

for (const kind of kinds)
  test(`in ${histories} random ${kind} streams client and server agree, and a proof is one`, () => {
    const seen = { proofs: 0, refusals: 0, claims: 0 };
    for (let seed = 1; seed <= histories; seed += 1) {
      const result = playSecrets({ seed, steps, kind });
      assert.deepEqual(result.broken, [], `seed ${seed}`);
      for (const key of ['proofs', 'refusals', 'claims'] as const) seen[key] += result[key];
    }
    // a model in which nothing happens would prove nothing
    assert.ok(seen.proofs > histories * 5, `${seen.proofs} proofs`);
    assert.ok(seen.refusals > histories / 2, `${seen.refusals} refusals`);
    assert.ok(kind === 'full' || seen.claims > histories / 2, `${seen.claims} claims`);
  });

const mutations: Readonly<Record<string, NonNullable<SdsModelOptions['mutate']>>> = {
  'an answer counts whatever its nonce': (request, { lastNonce }) =>
    request.nonce === '' ? request : { ...request, nonce: lastNonce },
  'a refusal counts as an acknowledgement': (request) => ({ ...request, refused: undefined }),
  'the names of a refusal do not count': (request, { subscriptions }) =>
    request.kind === 'full' && request.refused !== undefined
      ? { ...request, names: [...subscriptions.keys()] }
      : request,
  'nothing is ever given up': (request, { subscriptions }) =>
    request.kind === 'full'
      ? { ...request, names: [...subscriptions.keys(), ...request.names] }
      : { ...request, unsubscribe: [] },
  'a client is believed to hold what it did not say': (request) =>
    request.kind === 'delta'
      ? { ...request, versions: new Map(['a', 'b', 'c', 'd'].map((name) => [name, '1'])) }
      : request,
};

for (const [name, mutate] of Object.entries(mutations))
  test(`the model notices if ${name}`, () => {
    const noticed = kinds.some((kind) =>
      Array.from({ length: 400 }, (_, index) => index + 1).some(
        (seed) => playSecrets({ seed, steps, kind, mutate }).broken.length > 0,
      ),
    );
    assert.ok(noticed);
  });
