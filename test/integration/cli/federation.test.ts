import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parse } from 'yaml';
import { serverConfigSchema } from '../../../src/config/index.ts';
import { certificatesToPem } from '../../../src/common/x509/index.ts';
import {
  BundleEndpoint,
  bundleDocumentOf,
  foreignRoot,
  svidPair,
  webPair,
} from '../../support/bundle-endpoint.ts';
import { runCommand, type CommandEnd } from '../../support/command.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';

const project = import.meta
  .resolve('#proto/spiffe/workload.proto')
  .replace(/proto\/spiffe\/workload\.proto$/, '');
const page = readFileSync(new URL('docs/federation.md', project), 'utf8');
const root = foreignRoot('partner.test');
const webRoot = foreignRoot('web', { uriSans: [] });
const id = 'spiffe://partner.test/ca';

let server: TestServer;
let dir: string;
let endpoint: BundleEndpoint;
let web: BundleEndpoint;

const federation = (...args: readonly string[]): Promise<CommandEnd> =>
  runCommand(server, ['federation', ...args]);

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-cli-federation-'));
  server = await startTestServer();
  endpoint = await BundleEndpoint.start(svidPair(root, id));
  endpoint.answer = bundleDocumentOf({ roots: [root], sequence: 2 });
  web = await BundleEndpoint.start(webPair(webRoot));
  web.answer = bundleDocumentOf({ roots: [foreignRoot('other.test')], sequence: 9 });
  await writeFile(join(dir, 'partner.json'), bundleDocumentOf({ roots: [root], sequence: 1 }));
  await writeFile(join(dir, 'ca.pem'), certificatesToPem([webRoot.certificateDer]));
});
after(async () => {
  await server?.[Symbol.asyncDispose]();
  await endpoint?.[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

/** The arguments of a command as the page writes it, with what stands for the names in it. */
function documented(part: string, names: Readonly<Record<string, string>>): readonly string[] {
  const commands = page.replaceAll('\\\n', ' ').split('\n');
  let command = commands.find(
    (line) => line.startsWith('meshca federation') && line.includes(part),
  );
  assert.ok(command, part);
  for (const [name, value] of Object.entries(names)) command = command.replaceAll(name, value);
  return command.split(/\s+/).slice(2);
}

test('the configuration of the page is one that a server starts with', () => {
  const [, yaml = ''] = /```yaml\n([^]*?)```/.exec(page) ?? [];
  const config = { trustDomain: 'mesh.test', ...(parse(yaml) as object) };
  const { federation: endpoints } = serverConfigSchema.parse(config);
  assert.deepEqual([endpoints.spiffe?.port, endpoints.web?.port], [8445, 8446]);
});

test('an operator trusts foreign trust domains, sees and explains them, and ends the trust', async () => {
  const entry = await runCommand(server, [
    ...['entry', 'create', '--spiffe-id', 'spiffe://mesh.test/web', '--selector', 'unix:uid:1'],
    ...['--parent-id', 'spiffe://mesh.test/meshca/agent/n1', '--federates-with', 'partner.test'],
  ]);
  assert.equal(entry.code, 0, entry.err);
  assert.match(entry.err, /note: there is no relationship with partner\.test/);
  assert.match((await federation('list')).out, /no relationships; "meshca federation create"/);
  const spiffe = ['--profile', 'https_spiffe', '--url', endpoint.url, '--endpoint-id', id];
  const without = await federation('create', 'partner.test', ...spiffe);
  assert.equal(without.code, 2);
  assert.match(without.err, /there is no bundle of partner\.test[^]*--bundle FILE/);
  // as the advice and docs/federation.md say
  const made = await federation(
    ...documented('--profile https_spiffe', {
      'partner.example': 'partner.test',
      'https://ca.partner.test:8445/': endpoint.url,
      'spiffe://partner.test/meshca/server': id,
      'partner.json': join(dir, 'partner.json'),
    }),
  );
  assert.equal(made.code, 0, made.err);
  const again = await federation('create', 'partner.test', ...spiffe);
  assert.equal(again.code, 6);
  assert.match(again.err, /meshca federation show partner\.test[^]*delete it and create it again/);
  const other = await federation(
    ...['create', 'other.test', '--profile', 'https_web', '--url', web.url],
    ...['--ca-file', join(dir, 'ca.pem'), '--json'],
  );
  assert.equal((JSON.parse(other.out) as { trustDomain: string }).trustDomain, 'other.test');
  for (const name of ['partner.test', 'other.test'])
    assert.equal((await federation('refresh', name)).code, 0);
  const list = (await federation('list')).out;
  assert.match(list, /other\.test +https_web +fresh +9/);
  assert.match(list, /partner\.test +https_spiffe +fresh +2/);
  assert.ok(
    list.split('\n').every((line) => line.length <= 80),
    list,
  );
  const shown = (await federation('show', 'partner.test')).out;
  assert.match(shown, /endpoint id +spiffe:\/\/partner\.test\/ca\n/);
  assert.match(shown, /roots +SHA-256 [0-9a-f]{64}\n/);
  assert.match((await federation('explain', 'partner.test')).out, /confirmed it 2/);

  endpoint.answer = bundleDocumentOf({ roots: [root], sequence: 1 });
  const refused = await federation('refresh', 'partner.test', '--json');
  assert.match(refused.err, /FEDERATION_BUNDLE_ROLLED_BACK/);
  assert.match((await federation('list')).out, /failing +2 .*FEDERATION_BUNDLE_ROLLED_BACK/);
  assert.match((await federation('explain', 'partner.test')).out, /Next: Ask the operators/);

  const deleted = await federation('delete', 'partner.test', '--reason', 'the contract ended');
  assert.equal(deleted.code, 0);
  assert.equal((await federation('show', 'partner.test')).code, 3);
  await until(async () => !(await federation('list')).out.includes('partner.test'));
});

test('a table fits 80 columns whatever the names are, and what is cut is told', async () => {
  const name = `${'partner-of-ours.'.repeat(14)}test`;
  const made = await federation(
    ...['create', name, '--profile', 'https_web', '--url', 'https://localhost:1/'],
  );
  assert.equal(made.code, 0, made.err);
  await until(async () => (await federation('list', '--json')).out.includes('ENDPOINT_FAILED'));
  const terminal = { isTerminal: true, columns: 80, color: false };
  const list = await runCommand(server, ['federation', 'list'], { terminal });
  assert.ok(
    list.out.split('\n').every((line) => line.length <= 80),
    list.out,
  );
  assert.match(list.err, /--wide shows everything/);
  assert.match(
    (await federation('explain', name)).out,
    /There is no bundle of [^]*ENDPOINT_FAILED/,
  );
  assert.equal((await federation('delete', name)).code, 0);
  const gone = await federation('delete', name, '--json');
  assert.equal(gone.code, 3);
  const { error } = JSON.parse(gone.err) as { readonly error: { code: string; next: string } };
  assert.equal(error.code, 'NOT_FOUND');
  assert.match(error.next, /meshca federation list/);
});
