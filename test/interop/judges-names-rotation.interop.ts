import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import { certificatesToPem, createCsr, generateKeyPairAsync } from '../../src/common/x509/index.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';
import { rawClient } from '../support/workload-lib.ts';
import { foreignProgram } from './foreign-programs.ts';
import { ask, vfychain, type Case } from './judge.ts';
import { Presenter, type Pair } from './presenter.ts';

const run = promisify(execFile);
const profiles = ['short', 'classic'] as const;

const passed = (judged: Promise<unknown>): Promise<boolean> =>
  judged.then(
    () => true,
    () => false,
  );

describe('while a root of names is replaced', () => {
  let server: TestServer;
  let earlier: Buffer;
  let later: Buffer;
  const pairs: Record<string, Pair> = {};

  async function issue(profile: string): Promise<Pair> {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const { chainDer } = await server.admin('Certificates/IssueCertificate', {
      ...{ dnsNames: ['www.shop.test'], csrDer: createCsr(privateKey), profile },
      requestId: uuidv7(),
    });
    return { chainDer, privateKey };
  }

  const activeRoot = async (): Promise<Buffer> => {
    const { authorities } = await server.admin('Authorities/ListAuthorities', {
      ...{ kind: 'names-root', state: 'active' },
    });
    return authorities[0]?.certificateDer ?? Buffer.alloc(0);
  };

  const file = async (name: string, ders: readonly Buffer[]): Promise<string> => {
    const path = join(server.dir, name);
    await writeFile(path, certificatesToPem(ders));
    return path;
  };

  /** Who accepts the server of this chain with this root, of all who verify chains. */
  async function accepting(chain: readonly Buffer[], root: Buffer, { privateKey }: Pair) {
    const asked: Case = { name: 'a chain', purpose: 'server', chain, root };
    const verdict = async (judge: 'go' | 'rust' | 'java', more: Partial<Case> = {}) =>
      (await ask(judge, [{ ...asked, ...more }])).get('a chain')?.accepted === true;
    const [trusted, leaf, issuers, whole] = [
      await file('root.pem', [root]),
      await file('leaf.pem', chain.slice(0, 1)),
      await file('issuers.pem', chain.slice(1)),
      await file('chain.pem', chain),
    ];
    const openssl = [
      ...['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', trusted],
      ...['-untrusted', issuers, leaf],
    ];
    const certtool = ['--verify', '--load-ca-certificate', trusted, '--infile', whole];
    await using presenter = await new Presenter({ chainDer: chain, privateKey }).listen();
    const node = { ca: certificatesToPem([root]), servername: 'www.shop.test' };
    return {
      go: await verdict('go'),
      rustls: await verdict('rust'),
      java: await verdict('java', { trustManager: true }),
      nss: /Chain is good/.test(await vfychain(server.dir, asked)),
      openssl: await passed(run('openssl', openssl)),
      gnutls: await passed(run('certtool', certtool)),
      node: await passed(
        rawClient(presenter.port, undefined, { ...node, rejectUnauthorized: true }),
      ),
    };
  }

  before(async () => {
    server = await startTestServer({
      config: { names: { enabled: true }, issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' } },
    });
    earlier = await activeRoot();
    await server.admin('Authorities/RotateAuthorities', {
      ...{ kind: 'names-root', force: true, reason: 'a test' },
    });
    await until(async () => {
      later = await activeRoot();
      return (
        later.length > 0 && !later.equals(earlier) && (await issue('short')).chainDer.length === 3
      );
    }, 'chains to end with the cross-certificate');
    for (const profile of profiles) pairs[profile] = await issue(profile);
  });
  after(() => server?.[Symbol.asyncDispose]());

  const all = {
    go: true,
    rustls: true,
    java: true,
    nss: true,
    openssl: true,
    gnutls: true,
    node: true,
  };
  const none = Object.fromEntries(Object.keys(all).map((judge) => [judge, false]));

  for (const profile of profiles)
    test(`every judge accepts ${profile} with either root alone`, async () => {
      const pair = pairs[profile] as Pair;
      assert.deepEqual(await accepting(pair.chainDer, earlier, pair), all);
      assert.deepEqual(await accepting(pair.chainDer, later, pair), all);
    });

  test('no judge accepts it without the cross-certificate, or with the root of the mesh', async () => {
    const pair = pairs['classic'] as Pair;
    assert.deepEqual(await accepting(pair.chainDer.slice(0, 2), earlier, pair), none);
    assert.deepEqual(await accepting(pair.chainDer, server.rootsDer[0] as Buffer, pair), none);
  });

  test('zlint and pkilint find no error in the cross-certificate', async () => {
    const { chainDer } = pairs['classic'] as Pair;
    const asked: Case = { name: 'a chain', purpose: 'server', chain: chainDer, root: earlier };
    assert.deepEqual((await ask('go', [asked])).get('a chain')?.lints, []);
    const [program = ''] = foreignProgram('pkilint');
    const cross = await file('cross.pem', chainDer.slice(2));
    const { stdout } = await run(program, ['lint', '-s', 'ERROR', cross]);
    assert.equal(stdout.trim(), '');
  });
});
