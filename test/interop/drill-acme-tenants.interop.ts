import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';
import { foreignProgram } from './foreign-programs.ts';

const certificates = 160;

test('tenants get their certificates by ACME, renew them, and one of them is offboarded', async (t) => {
  const { code, figures, stderr } = await runDrill(
    ...['acme-tenants', '--short', '--json'],
    ...['--step-ca', foreignProgram('stepCa'), '--certificates', String(certificates)],
  );
  assert.equal(code, 0, stderr);
  assert.equal(figures.issued.certificates, 10 * figures.tenants);
  assert.equal(figures.renewed.certificates, 10 * figures.tenants);
  // the ratio of so few certificates on a busy machine is told, not judged: the long drill judges it
  const { ours, theirs, ratio } = figures.compared;
  assert.equal(ours.certificates, certificates);
  assert.equal(theirs.certificates, certificates);
  t.diagnostic(
    `a certificate costs ${ours.serverCpuMs} ms, at step-ca ${theirs.serverCpuMs} ms: ratio ${ratio}`,
  );
});
