import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  sha256Hex,
  verifyX509Svid,
} from '../../../src/common/x509/index.ts';
import type { CliContext } from '../../../src/cli/context.ts';
import { runCommand, type CommandEnd } from '../../support/command.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { startTokenIssuer, tokenAudience, type TokenIssuer } from '../../support/token-issuer.ts';

describe('a CI job gets a certificate by one command', () => {
  let issuer: TokenIssuer;
  let platform: TokenIssuer;
  let server: TestServer;
  let dir: string;
  let bundle: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-issue-'));
    [issuer, platform] = await Promise.all([startTokenIssuer(), startTokenIssuer({ plain: true })]);
    writeFileSync(join(dir, 'ca.pem'), issuer.caPem);
    server = await startTestServer({
      config: {
        issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
        tokens: {
          issuers: [
            {
              name: 'ci',
              type: 'oidc',
              issuer: issuer.url,
              purposes: ['pipeline', 'acme'],
              audiences: [tokenAudience],
              caFile: join(dir, 'ca.pem'),
            },
          ],
        },
      },
    });
    bundle = join(dir, 'roots.pem');
    writeFileSync(bundle, certificatesToPem(server.rootsDer));
    const made = await runCommand(server, [
      ...['entry', 'create', '--id', 'deploy', '--profile', 'revocable'],
      ...['--spiffe-id', 'spiffe://mesh.test/ci/deploy'],
      ...['--parent-id', 'spiffe://mesh.test/meshca/token-issuer/ci'],
      ...['--selector', 'oidc:repository:example/app'],
    ]);
    assert.equal(made.code, 0, made.err);
    // claims are no selectors of agents, and nobody is told that no process has them
    assert.equal(made.err, '');
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await issuer?.[Symbol.asyncDispose]();
    await platform?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const address = (): string => `127.0.0.1:${server.server.port}`;
  const jobToken = (claims: object = {}): Promise<string> =>
    issuer.token({ repository: 'example/app', ...claims });
  const issue = async (
    out: string,
    token: string,
    over: { args?: readonly string[]; given?: Partial<CliContext> } = {},
  ): Promise<CommandEnd & { readonly folder: string }> => {
    const folder = join(dir, out);
    const ended = await runCommand(
      server,
      [
        ...['issue', '--oidc', '--server', address(), '--trust-domain', 'mesh.test'],
        ...['--bundle', bundle, '--out', folder, '--wait', '0', ...(over.args ?? [])],
      ],
      { env: { MESHCA_ID_TOKEN: token }, ...over.given },
    );
    return { ...ended, folder };
  };
  const mode = (path: string): number => statSync(path).mode & 0o777;

  test('the token of a GitLab job leads to a certificate, key and bundle with safe modes', async () => {
    const { code, out, err, folder } = await issue('gitlab', await jobToken());
    assert.equal(code, 0, err);
    assert.match(out, /spiffe:\/\/mesh\.test\/ci\/deploy/);
    const chainDer = unwrap(certificatesFromPem(readFileSync(join(folder, 'svid.pem'), 'utf8')));
    const roots = unwrap(certificatesFromPem(readFileSync(join(folder, 'bundle.pem'), 'utf8')));
    const now = Math.floor(Date.now() / 1000);
    const { leaf } = unwrap(verifyX509Svid({ chainDer, bundle: () => roots, now }));
    const key = createPrivateKey(readFileSync(join(folder, 'svid_key.pem')));
    assert.deepEqual(createPublicKey(key).export({ type: 'spki', format: 'der' }), leaf.spkiDer);
    assert.equal(mode(folder), 0o700);
    assert.equal(mode(join(folder, 'svid_key.pem')), 0o600);
    assert.equal(mode(join(folder, 'issued.json')), 0o600);
  });

  test('a job of GitHub Actions asks its platform for the token, with the audience', async () => {
    const token = await jobToken();
    let asked = '';
    platform.answer = (path) => {
      asked = path;
      return { status: 200, body: JSON.stringify({ value: token }) };
    };
    const env = {
      ACTIONS_ID_TOKEN_REQUEST_URL: `${platform.url}/token?api-version=2`,
      ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'platform-secret',
    };
    const { code, err } = await issue('github', '', { given: { env } });
    assert.equal(code, 0, err);
    assert.equal(asked, '/token?api-version=2&audience=meshca');
    platform.answer = () => ({ status: 500 });
    const failed = await issue('github-down', '', { given: { env } });
    assert.equal(failed.code, 5, failed.err);
    platform.answer = () => ({ status: 401 });
    const refused = await issue('github-refused', '', { given: { env } });
    assert.equal(refused.code, 4, refused.err);
    assert.match(refused.err, /id-token: write/);
    await platform.stop();
    const dead = await issue('github-dead', '', { given: { env } });
    assert.match(dead.err, /UNREACHABLE: GitHub Actions gave no token: \S/);
    assert.doesNotMatch(dead.err, /fetch failed/);
    await platform.start();
    const away = { ...env, ACTIONS_ID_TOKEN_REQUEST_URL: 'http://token.example/x' };
    assert.equal((await issue('github-http', '', { given: { env: away } })).code, 2);
  });

  test('the server is believed by a fingerprint of its root, and nothing is sent to another', async () => {
    const args = (print: string): readonly string[] => [
      ...['issue', '--oidc', '--server', address(), '--trust-domain', 'mesh.test', '--wait', '0'],
      ...['--root-fingerprint', print, '--out', join(dir, 'pinned'), '--token-stdin', '--json'],
    ];
    const token = await jobToken();
    const given = { readStdin: async () => `${token}\n` };
    const wrong = await runCommand(server, args('0'.repeat(64)), given);
    assert.equal(wrong.code, 4);
    assert.match(wrong.err, /SERVER_UNTRUSTED/);
    assert.match(wrong.err, /--root-fingerprint/);
    assert.deepEqual(readdirSync(join(dir, 'pinned')), []);
    const elsewhere = args(sha256Hex(server.rootsDer[0] as Buffer)).map((text) =>
      text === 'mesh.test' ? 'other.test' : text,
    );
    const foreign = await runCommand(server, elsewhere, given);
    assert.equal(foreign.code, 4);
    assert.match(foreign.err, /trust domain mesh\.test by its certificate, not of other\.test/);
    // the token was not used up by the wrong server
    const right = await runCommand(server, args(sha256Hex(server.rootsDer[0] as Buffer)), given);
    assert.equal(right.code, 0, right.err);
    const shown = JSON.parse(right.out) as Record<string, unknown>;
    assert.equal(shown['spiffeId'], 'spiffe://mesh.test/ci/deploy');
    assert.equal('privateKey' in shown, false);
  });

  test('the end of a job deletes the key, gives the certificate back and revokes it', async () => {
    const token = await jobToken();
    const { folder } = await issue('ended', token);
    const { serial } = JSON.parse(readFileSync(join(folder, 'issued.json'), 'utf8')) as {
      serial: string;
    };
    const ended = await runCommand(server, ['give-back', folder]);
    assert.equal(ended.code, 0, ended.err);
    assert.match(ended.out, /revoked/);
    assert.deepEqual(readdirSync(folder), ['bundle.pem']);
    const certificate = await server.admin('Certificates/GetCertificate', { serial });
    assert.ok(certificate.revokedAt > 0);
    assert.equal((await runCommand(server, ['give-back', folder])).code, 3);
    assert.equal((await issue('again', token)).code, 4);
  });

  test('the end of a job deletes the key even where the CA can not be reached', async () => {
    const { folder } = await issue('alone', await jobToken());
    const path = join(folder, 'issued.json');
    const issued = JSON.parse(readFileSync(path, 'utf8')) as object;
    writeFileSync(path, JSON.stringify({ ...issued, server: '127.0.0.1:1' }));
    const ended = await runCommand(server, ['give-back', folder]);
    assert.equal(ended.code, 5, ended.err);
    assert.match(ended.err, /the key is deleted/);
    assert.equal(existsSync(join(folder, 'svid_key.pem')), false);
  });

  test('the end of a job deletes the key even where what stands beside it can not be read', async () => {
    for (const name of ['issued.json', 'svid.pem', 'svid_key.pem', 'bundle.pem']) {
      const { folder } = await issue(`damaged-${name}`, await jobToken());
      writeFileSync(join(folder, name), 'damaged');
      const ended = await runCommand(server, ['give-back', folder]);
      assert.equal(ended.code, 2, ended.err);
      assert.match(ended.err, /the key is deleted, but its certificate is not given back: \S/);
      assert.deepEqual(readdirSync(folder), ['bundle.pem'], name);
    }
    const { folder } = await issue('incomplete', await jobToken());
    rmSync(join(folder, 'svid.pem'));
    writeFileSync(join(folder, 'issued.json'), '{}');
    assert.equal((await runCommand(server, ['give-back', folder])).code, 2);
    assert.deepEqual(readdirSync(folder), ['bundle.pem']);
  });

  test('a job that is interrupted is told that its token may be used up', async () => {
    const stop = new AbortController();
    issuer.keys.unshift(await issuer.newKey());
    const token = await jobToken();
    // the server meets a key that it does not know, and asks the issuer
    issuer.answer = () => {
      stop.abort();
      return { status: 503 };
    };
    const ended = await issue('stopped', token, {
      args: ['--wait', '2m'],
      given: { signal: stop.signal },
    });
    issuer.answer = undefined;
    issuer.keys.shift();
    assert.equal(ended.code, 130);
    assert.match(ended.err, /may have used the token up/);
    assert.deepEqual(readdirSync(ended.folder), []);
  });

  test('a give-back that is interrupted says that the key is deleted', async () => {
    const { folder } = await issue('given-back', await jobToken());
    const ended = await runCommand(server, ['give-back', folder], { signal: AbortSignal.abort() });
    assert.equal(ended.code, 130);
    assert.match(ended.err, /the key is deleted, .*: interrupted/);
    assert.deepEqual(readdirSync(folder), ['bundle.pem']);
  });

  test('exit codes tell a refusal from an outage and from a mistake in the command', async () => {
    assert.equal((await issue('foreign', await jobToken({ repository: 'evil/app' }))).code, 4);
    assert.equal((await issue('audience', await jobToken({ aud: 'sts' }))).code, 4);
    assert.equal((await issue('none', '')).code, 2);
    assert.equal(
      (await issue('both', '', { args: ['--token-stdin', '--token-env', 'X'] })).code,
      2,
    );
    assert.equal((await issue('both', '', { args: ['--root-fingerprint', 'ab'] })).code, 2);
    const noMethod = ['issue', '--server', address(), '--trust-domain', 'mesh.test'];
    assert.equal((await runCommand(server, noMethod)).code, 2);
    await issuer.stop();
    await server.restart();
    const down = await issue('down', await jobToken());
    assert.equal(down.code, 5, down.err);
    assert.match(down.err, /TOKEN_ISSUER_UNREACHABLE/);
  });

  test('a job waits for an issuer that comes back, with one key', async () => {
    const token = await jobToken();
    const waiting = issue('waiting', token, { args: ['--wait', '2m'] });
    await issuer.start();
    const { code, err } = await waiting;
    assert.equal(code, 0, err);
  });

  test('an operator sees the issuers, what a token gives, and why an entry does not match', async () => {
    const listed = await runCommand(server, ['token', 'issuers']);
    assert.match(listed.out, /ci +reachable +pipeline,acme +https:/);
    for (const line of listed.out.split('\n')) assert.ok(line.length <= 140, line);
    const given = { env: { TOKEN: await jobToken({ repository: 'evil/app' }) } };
    const told = await runCommand(server, ['token', 'explain', '--token-env', 'TOKEN'], given);
    assert.equal(told.code, 0, told.err);
    assert.match(told.out, /oidc:repository:evil\/app/);
    assert.match(told.out, /not spiffe:\/\/mesh\.test\/ci\/deploy \(deploy\): the token lacks/);
  });

  test('a job exchanges its token for an EAB key, inside a delegation of names', async () => {
    const spiffeId = 'spiffe://mesh.test/ci/deploy';
    for (const command of [
      [
        ...['tenant', 'create', 'shop', '--dns-suffix', 'shop.test'],
        ...['--spiffe-prefix', 'spiffe://mesh.test/ci/'],
      ],
      [
        ...['delegation', 'create', '--client-id', spiffeId, '--dns-pattern', '*.shop.test'],
        ...['--profile', 'short', '--max-ttl', '1h'],
      ],
    ]) {
      const { code, err } = await runCommand(server, command);
      assert.equal(code, 0, err);
    }
    const exchange = (token: string, ...args: readonly string[]) =>
      runCommand(
        server,
        [
          ...['acme', 'key', 'exchange', '--oidc', '--server', address(), '--bundle', bundle],
          ...['--trust-domain', 'mesh.test', ...args],
        ],
        { env: { MESHCA_ID_TOKEN: token } },
      );
    const token = await jobToken();
    const file = join(dir, 'explained.jwt');
    writeFileSync(file, token);
    const explained = await runCommand(server, ['token', 'explain', '--token-file', file]);
    assert.match(explained.out, /EAB keys of shop for \*\.shop\.test \(short, /);
    const made = await exchange(token, '--name', 'www.shop.test', '--for', 'certbot');
    assert.equal(made.code, 0, made.err);
    const [, id = ''] = /--eab-kid (\S+) --eab-hmac-key \S{43} /.exec(made.out) ?? [];
    const shown = await runCommand(server, ['acme', 'key', 'show', id]);
    assert.match(shown.out, /exchanged for +a token of ci for repo:example\/app/);
    assert.match(shown.out, /state +stands\n/);
    const again = await exchange(token, '--name', 'www.shop.test');
    assert.equal(again.code, 4);
    assert.match(again.err, /TOKEN_REPLAYED/);
    const outside = await exchange(await jobToken(), '--name', 'www.other.test');
    assert.match(outside.err, /OUTSIDE_DELEGATION/);
  });
});
