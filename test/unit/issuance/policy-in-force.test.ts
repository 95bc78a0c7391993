import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, unwrap } from '../../../src/common/errors/index.ts';
import { readPolicy } from '../../../src/common/policy/file.ts';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import { spiffeSubject, type CertificateKind } from '../../../src/domain/index.ts';
import {
  PolicyInForce,
  type PolicyObserver,
  type PolicyRequest,
} from '../../../src/issuance/index.ts';

const agent = { class: 'agent', name: 'spiffe://mesh.test/meshca/agent/n1' } as const;
const request = (kind: CertificateKind): PolicyRequest => ({
  type: 'x509',
  kind,
  subject: spiffeSubject(SpiffeId.of('spiffe://mesh.test/web')),
  profile: 'short-lived',
  keyType: 'ec-p256',
  ttlSeconds: 60,
  entryId: null,
  delegationId: null,
});
const policy = (effect: 'allow' | 'deny', conditions: object = {}) =>
  unwrap(
    readPolicy(JSON.stringify({ meshcaPolicy: 1, rules: [{ name: 'r', effect, ...conditions }] })),
  );
/** With what its observer heard. */
function observed() {
  const heard: unknown[] = [];
  const observer: PolicyObserver = {
    denied: (rule) => heard.push(rule),
    failed: (failed) => heard.push(failed),
  };
  return { inForce: new PolicyInForce({ now: () => 1 }, observer), heard };
}

test('the built-in policy decides until one is put in its place, then the newest', () => {
  const { inForce } = observed();
  const decided = () => {
    const { allowed, version } = inForce.decide(request('workload'), agent);
    return [allowed, version];
  };
  assert.deepEqual(decided(), [true, 0]);
  inForce.put(1, policy('deny'));
  assert.deepEqual(decided(), [false, 1]);
  inForce.put(2, policy('allow'));
  assert.deepEqual(decided(), [true, 2]);
});

test('a policy that can not be read denies all that is subject to one, and nothing else', () => {
  const { inForce } = observed();
  inForce.broken(4, new PkiError('OBJECT_NOT_IN_LOG', 'it differs'));
  const denied = inForce.decide(request('workload'), agent);
  assert.ok(!denied.allowed);
  assert.match(denied.reason, /can not be read: it differs \(OBJECT_NOT_IN_LOG\)/);
  assert.deepEqual(inForce.decide(request('agent'), agent), { allowed: true, version: 4 });
  inForce.put(5, policy('allow'));
  assert.equal(inForce.decide(request('workload'), agent).allowed, true);
});

test('each denial is told by its rule, and a failed expression with its reason', () => {
  const { inForce, heard } = observed();
  const decide = () => inForce.decide(request('workload'), agent);
  decide();
  inForce.put(1, policy('allow'));
  decide();
  assert.deepEqual(heard.splice(0), []);
  inForce.put(2, policy('deny'));
  decide();
  inForce.put(3, policy('allow', { entries: ['db'] }));
  decide();
  inForce.broken(3, new PkiError('OBJECT_NOT_IN_LOG', 'it differs'));
  decide();
  assert.deepEqual(heard.splice(0), ['r', '(none)', '(unreadable)']);
  inForce.put(4, policy('allow', { when: 'request.path[3] == "x"' }));
  decide();
  const failure = 'it reads an item beyond the end of a list';
  assert.deepEqual(heard, ['r', { version: 4, rule: 'r', failure }]);
});
