import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { pemEncode } from '../../../src/common/x509/index.ts';
import { ocspHashes, type OcspAnswer } from '../../../src/certs/index.ts';
import { makeOcspCa } from '../../support/ocsp.ts';
import { day, makeKey } from '../../support/x509.ts';

const run = promisify(execFile);
const now = Math.floor(Date.now() / 1000);

test('OpenSSL and GnuTLS accept good and revoked answers of signers below every type of key', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-ocsp-'));
  context.after(() => rm(directory, { recursive: true }));
  const serialHex = '4123456789ab00112233445566778877';
  const answer: OcspAnswer = {
    serialHex,
    revoked: undefined,
    producedAt: now,
    thisUpdate: now - 300,
    nextUpdate: now + 4 * day,
  };
  const revoked = { ...answer, revoked: { at: now - 60, reason: 'superseded' as const } };
  for (const keyType of ['ec-p256', 'ec-p384', 'rsa-2048'] as const) {
    const ca = makeOcspCa({ notBefore: now - day, notAfter: now + 30 * day }, makeKey(keyType));
    const caFile = join(directory, 'ca.pem');
    await writeFile(caFile, pemEncode('CERTIFICATE', ca.responder.issuer.raw));
    for (const hash of ocspHashes)
      for (const meant of [answer, revoked]) {
        const file = join(directory, 'answer.der');
        await writeFile(file, ca.respond(meant, hash));
        const { stdout, stderr } = await run('openssl', [
          'ocsp',
          `-${hash}`,
          ...['-issuer', caFile, '-serial', `0x${serialHex}`],
          ...['-respin', file, '-CAfile', caFile, '-no_nonce'],
        ]);
        const gnutls = await run('ocsptool', [
          ...['--verify-response', '--load-trust', caFile, '--load-response', file],
        ]);
        assert.match(gnutls.stdout, /Verifying OCSP Response: Success/);
        assert.match(
          gnutls.stdout,
          meant.revoked === undefined ? /Certificate Status: good/ : /Certificate Status: revoked/,
        );
        assert.match(stderr, /Response verify OK/);
        assert.match(
          stdout,
          meant.revoked === undefined ? /: good/ : /: revoked[^]*Reason: superseded/,
        );
      }
  }
});
