import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { test } from 'node:test';
import { factsOf } from '../../../../src/issuance/policy-request.ts';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import {
  firstEnded,
  subjectText,
  type AuditEvent,
  type Intent,
} from '../../../../src/domain/index.ts';
import { issuing, world, request } from './leaf-support.ts';

test('the policy decides each item for its caller, and what it denies is on record and not signed', async () => {
  const w = world();
  const asked: unknown[] = [];
  w.decide = (about, caller) => {
    asked.push([about.type === 'x509' && subjectText(about.subject), caller]);
    return about.type === 'x509' && about.ttlSeconds === 60
      ? { allowed: true, version: 4 }
      : { allowed: false, version: 4, reason: 'at most a minute' };
  };
  const [short, long] = await w.issuer.issue([request({ ttlSeconds: 60 }), request()]);
  const caller = { class: 'agent', name: 'spiffe://mesh.test/meshca/agent/n1' };
  assert.deepEqual(asked, [
    ['spiffe://mesh.test/web', caller],
    ['spiffe://mesh.test/web', caller],
  ]);
  assert.ok(short?.ok);
  assert.ok(long?.ok === false && long.error.code === 'POLICY_DENIED');
  assert.equal(w.refusals[0]?.detail['refusalId'], long.refusalId);
  assert.equal(w.refusals[0]?.detail['code'], 'POLICY_DENIED');
  assert.equal(w.intents.length, 1);
  const [end] = w.finished;
  assert.ok(end?.kind === 'signed');
  assert.deepEqual(end.rights.at(-1), { kind: 'policy', version: 4 });
});

test('the records of what a policy of operators decided have its version, rule and facts', async () => {
  const w = world();
  const detail = {
    policyVersion: 4,
    policyAt: 5,
    policyFacts: 'ab',
    policyRule: 'short',
    callerClass: 'agent',
    keyType: 'ec-p256',
  };
  const stated = (event: AuditEvent | undefined): object =>
    Object.fromEntries(
      Object.entries(event?.detail ?? {}).filter(
        ([key]) => key.startsWith('policy') || key === 'callerClass' || key === 'keyType',
      ),
    );
  w.decide = (about, caller) => {
    const basis = { facts: factsOf(about, caller, 5)!, factsSha256: 'ab', rule: 'short' };
    return about.type === 'x509' && about.ttlSeconds === 60
      ? { allowed: true, version: 4, basis }
      : { allowed: false, version: 4, basis, reason: 'at most a minute' };
  };
  await w.issuer.issue([request({ ttlSeconds: 60 }), request()]);
  const [end] = w.finished;
  assert.ok(end?.kind === 'signed');
  assert.deepEqual([stated(end.event), stated(w.refusals[0])], [detail, detail]);
});

test('a leaf whose policy changed while it was signed is withheld, and signed when it is asked for again', async () => {
  const w = world();
  const versions = { inForce: 4 };
  w.decide = () => ({ allowed: true, version: versions.inForce });
  w.outcome = ({ bytes }) => {
    versions.inForce = 5;
    return { ok: true, signature: sign('sha256', bytes, issuing.key) };
  };
  w.finish = (item) => {
    const policy = { version: versions.inForce };
    const ended =
      item.kind === 'signed'
        ? firstEnded(item.rights.slice(-1), () => policy as never, systemClock.now())
        : undefined;
    return ended === undefined
      ? { state: 'issued' }
      : { state: 'withheld', code: ended.code, message: ended.message };
  };
  const [changed] = await w.issuer.issue([request()]);
  assert.ok(changed?.ok === false);
  assert.equal(changed.error.code, 'POLICY_CHANGED');
  const [again] = await w.issuer.issue([request()]);
  assert.ok(again?.ok);
});

test('a recorded certificate is not given again to whom the policy denies it now', async () => {
  const first = world();
  const lost = request();
  const [answer] = await first.issuer.issue([lost]);
  assert.ok(answer?.ok);
  const again = world();
  again.recorded = {
    ...(first.intents[0] as Intent),
    sequence: 1,
    state: 'issued',
    stateReason: null,
    sha256: 'x',
    replacedBy: null,
    replacementConfirmedAt: null,
    certificateDer: answer.leaf.chainDer[0] as Buffer,
  };
  again.decide = () => ({ allowed: false, version: 1, reason: 'no more' });
  const [denied] = await again.issuer.issue([lost]);
  assert.ok(denied?.ok === false && denied.error.code === 'POLICY_DENIED');
});
