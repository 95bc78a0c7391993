import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import { certificatesToPem } from '../../src/common/x509/index.ts';
import { ownDocument, parseForeignDocument } from '../../src/domain/index.ts';
import {
  BundleEndpoint,
  bundleDocumentOf,
  foreignRoot,
  newJwtKey,
  svidPair,
  webPair,
} from '../support/bundle-endpoint.ts';
import { documentWith, strangeRoots } from '../support/strange-roots.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';
import { foreignProgram } from './foreign-programs.ts';

const [program = ''] = foreignProgram('federation');
const run = promisify(execFile);

const webRoot = foreignRoot('web', { uriSans: [] });
const partnerRoot = foreignRoot('partner.test');
const partnerId = 'spiffe://partner.test/server';

let dir: string;
let t: TestServer;
const file = (name: string): string => join(dir, name);

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-endpoints-'));
  const web = webPair(webRoot);
  await writeFile(file('web.pem'), web.cert);
  await writeFile(file('web.key'), web.key);
  await writeFile(file('ca.pem'), certificatesToPem([webRoot.certificateDer]));
  t = await startTestServer({
    config: {
      federation: {
        web: { port: 0, certFile: file('web.pem'), keyFile: file('web.key') },
        spiffe: { port: 0 },
      },
    },
  });
  await writeFile(file('mesh.json'), (await t.admin('Authorities/GetBundle')).bundleJson);
});
after(async () => {
  await t?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

test('the federation client of go-spiffe reads both our endpoints, and refuses a wrong ID', async () => {
  const { web, spiffe } = t.server.federationPorts;
  const bundle = await t.admin('Authorities/GetBundle');
  const url = `https://localhost:${spiffe}/`;
  const fetches = [
    ['https_web', 'mesh.test', `https://localhost:${web}/`, file('ca.pem')],
    ['https_spiffe', 'mesh.test', url, file('mesh.json'), 'spiffe://mesh.test/meshca/server'],
  ];
  for (const args of fetches) {
    const { stdout } = await run(program, ['fetch', ...args]);
    assert.deepEqual(JSON.parse(stdout), {
      sequence: bundle.sequence,
      hintSeconds: t.config.issuance.bundleRefreshHintSeconds,
      roots: 1,
      jwtKeys: 1,
    });
  }
  await assert.rejects(
    run(program, ['fetch', 'https_spiffe', 'mesh.test', url, file('mesh.json'), partnerId]),
    /unexpected ID/,
  );
});

test('we read the endpoint that go-spiffe serves, by both profiles', async () => {
  const document = bundleDocumentOf({
    roots: [partnerRoot],
    sequence: 3,
    jwtKeys: { k1: newJwtKey() },
  });
  await writeFile(file('partner.json'), document);
  const pairs = {
    https_web: webPair(webRoot),
    https_spiffe: svidPair(partnerRoot, partnerId),
  } as const;
  for (const [profile, { cert, key }] of Object.entries(pairs)) {
    await writeFile(file('partner.pem'), cert);
    await writeFile(file('partner.key'), key, { mode: 0o600 });
    const child = spawn(
      program,
      ['serve', 'partner.test', file('partner.json'), file('partner.pem'), file('partner.key')],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    try {
      const [port] = (await once(createInterface(child.stdout), 'line')) as [string];
      const spiffe = profile === 'https_spiffe';
      await t.admin('Federation/CreateRelationship', {
        trustDomain: 'partner.test',
        endpointUrl: `https://localhost:${port}/`,
        endpointProfile: profile,
        endpointSpiffeId: spiffe ? partnerId : '',
        webRootsDer: spiffe ? [] : [webRoot.certificateDer],
        bundleDocument: Buffer.from(spiffe ? document : ''),
      });
      await until(async () => {
        const shown = await t.admin('Federation/GetRelationship', { trustDomain: 'partner.test' });
        assert.equal(shown.polls?.failure ?? null, null);
        return shown.polls?.attemptedAt !== 0 && shown.bundle?.sequence === 3;
      });
      await t.admin('Federation/DeleteRelationship', { trustDomain: 'partner.test' });
    } finally {
      const exit = once(child, 'exit');
      child.stdin.end();
      await exit;
    }
  }
});

test('go-spiffe reads every root that agents get, strange as it is', async () => {
  await using endpoint = await BundleEndpoint.start(webPair(webRoot));
  await writeFile(file('ca.pem'), certificatesToPem([webRoot.certificateDer]));
  const taken = strangeRoots().filter(({ verdict }) => verdict !== 'refused');
  for (const { name, der, verdict } of taken) {
    const parsed = parseForeignDocument(Buffer.from(documentWith([der])));
    assert.ok(parsed.ok, name);
    endpoint.answer = ownDocument(parsed.value).document;
    const args = ['fetch', 'https_web', 'partner.test', endpoint.url, file('ca.pem')];
    const { stdout } = await run(program, args);
    const { roots } = JSON.parse(stdout) as { readonly roots: number };
    assert.equal(roots, verdict === 'taken' ? 1 : 0, name);
  }
});
