import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { unwrap, type PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock, type Logger } from '../../../../src/common/runtime/index.ts';
import {
  certificatesFromPem,
  sha256Hex,
  verifyX509Svid,
} from '../../../../src/common/x509/index.ts';
import { VaultSession, type VaultOptions } from '../../../../src/issuance/index.ts';
import { serverConfigSchema } from '../../../../src/config/index.ts';
import { codeOf, startTestServer, type TestServer } from '../../../support/server.ts';
import { createTokens, type TestTokens } from '../../../support/softhsm.ts';
import { startOpenBao, upstreamOf, type OpenBao } from '../../../support/openbao.ts';
import { rotationLooked } from '../../../support/settled.ts';
import { past, patienceMs, until } from '../../../support/until.ts';

describe('intermediates that a real OpenBao signs', () => {
  let bao: OpenBao;
  let tokens: TestTokens;
  let server: TestServer;
  before(async () => {
    [bao, tokens] = await Promise.all([startOpenBao(), createTokens()]);
    await bao.api('POST', 'secret/data/meshca/hsm', { data: { pin: tokens.tokens.issuing.pin } });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await tokens?.[Symbol.asyncDispose]();
    await bao?.[Symbol.asyncDispose]();
  });

  const rootSha256 = (): string => sha256Hex(unwrap(certificatesFromPem(bao.rootPem))[0] as Buffer);
  const upstream = (over: object = {}): object => upstreamOf(bao, over);
  const session = (over: Partial<VaultOptions> = {}): Promise<VaultSession> =>
    VaultSession.open({
      address: bao.address,
      caPem: readFileSync(bao.caFile, 'utf8'),
      auth: {
        method: 'approle',
        mount: 'approle',
        roleId: bao.roleId,
        secretIdFile: bao.secretIdFile,
      },
      timeoutMs: patienceMs,
      clock: systemClock,
      logger: silentLogger,
      ...over,
    });
  const ready = async (): Promise<string> => {
    const status = await server.admin('Server/GetStatus');
    return status.ready === true ? 'ready' : status.reasons.join('\n');
  };
  const request = (): Promise<string> => codeOf(server.admin('AuthoritySources/RequestAuthority'));

  test('a server with a sealed upstream starts unready, and gets its intermediate after the unsealing', async () => {
    await bao.seal();
    // the PIN comes from a file here: without it no token could be opened while the upstream is
    // sealed
    server = await startTestServer({
      tokens,
      config: { authorities: { source: 'upstream', upstream: upstream() } },
    });
    assert.match(await ready(), /NO_ISSUER.*UPSTREAM_SEALED/);
    assert.equal(await request(), 'UPSTREAM_SEALED');
    await bao.unseal();
    await until(() => server.server.port > 0);
    assert.equal(await ready(), 'ready');
    const { rootsDer } = await server.admin('Authorities/GetBundle');
    assert.deepEqual(rootsDer.map(sha256Hex), [rootSha256()]);
    const svid = await server.mint('spiffe://mesh.test/workload');
    assert.ok(
      verifyX509Svid({
        chainDer: svid.chainDer,
        bundle: () => unwrap(certificatesFromPem(bao.rootPem)),
        now: systemClock.now(),
      }).ok,
    );
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    assert.equal(
      authorities.filter((each: { kind: string }) => each.kind === 'issuing').length,
      1,
      'the attempts while it was sealed shared one key',
    );
  });

  test('with a sealed upstream the next intermediate waits with a clear error while issuing goes on', async () => {
    const imported = await server.admin('AuthoritySources/RequestAuthority');
    assert.equal(imported.authority!.state, 'prepared');
    await bao.seal();
    assert.equal(await request(), 'UPSTREAM_SEALED');
    assert.ok((await server.mint('spiffe://mesh.test/while-sealed')).chainDer.length === 2);
    assert.equal(await ready(), 'ready');
    await server.restart();
    assert.equal(await ready(), 'ready');
    await bao.unseal();
    assert.equal(await request(), 'resolved');
  });

  test('a rotation gets its intermediate from the upstream, and waits while the upstream is sealed', async () => {
    const active = async (): Promise<string> => {
      const { authorities } = await server.admin('Authorities/ListAuthorities', {
        kind: 'issuing',
        state: 'active',
      });
      return authorities.map((each: { id: string }) => each.id).join();
    };
    const changes = async (from: string): Promise<void> => {
      // for a moment both may sign
      await until(
        async () => ![from, ''].includes(await active()) && !(await active()).includes(','),
        'the issuer changes',
      );
    };
    const waiting = (
      await server.admin('Authorities/ListAuthorities', { kind: 'issuing', state: 'prepared' })
    ).authorities as { id: string }[];
    // what was asked for by hand before stands in the way of the next
    for (const { id } of waiting)
      await server.admin('Authorities/WithdrawAuthority', { id, reason: 'not needed' });
    const first = await active();
    await server.admin('Authorities/RotateAuthorities', { kind: 'issuing', reason: 'drill' });
    await changes(first);
    const second = await active();
    await bao.seal();
    await server.admin('Authorities/RotateAuthorities', { kind: 'issuing', reason: 'drill' });
    await until(
      async () =>
        (await server.admin('Authorities/GetRotationStatus')).notes.some(
          (note: { code: string }) => note.code === 'WAITING_IMPORT',
        ),
      'the status says that it waits',
    );
    await rotationLooked(server);
    assert.equal(await active(), second);
    assert.equal(await request(), 'UPSTREAM_SEALED');
    assert.ok((await server.mint('spiffe://mesh.test/rotation-waits')).serial.length > 0);
    await bao.unseal();
    await changes(second);
    assert.ok((await server.mint('spiffe://mesh.test/rotated')).serial.length > 0);
  });

  test('each failure of the upstream has a code: permission, TTL, mount, foreign root, no answer', async () => {
    await bao.api('PUT', 'sys/policies/acl/meshca', {
      policy: 'path "secret/data/meshca/*" { capabilities = ["read"] }',
    });
    assert.equal(await request(), 'UPSTREAM_DENIED');
    await bao.api('PUT', 'sys/policies/acl/meshca', {
      policy:
        'path "+/root/sign-intermediate" { capabilities = ["update"] }\npath ' +
        '"secret/data/meshca/*" { capabilities = ["read"] }',
    });
    await bao.api('POST', 'sys/mounts/pki/tune', { max_lease_ttl: '240h' });
    assert.equal(await request(), 'UPSTREAM_TTL');
    await bao.api('POST', 'sys/mounts/pki/tune', { max_lease_ttl: '87600h' });
    const with_ = async (over: object): Promise<string> => {
      await server.stop();
      await using other = await startTestServer({
        tokens,
        dir: server.dir,
        config: { authorities: { source: 'upstream', upstream: upstream(over) } },
      });
      const code = await codeOf(other.admin('AuthoritySources/RequestAuthority'));
      assert.ok((await other.mint('spiffe://mesh.test/goes-on')).serial.length > 0);
      return code;
    };
    assert.equal(await with_({ mount: 'absent' }), 'UPSTREAM_INVALID');
    assert.equal(await with_({ rootSha256: ['ab'.repeat(32)] }), 'CHAIN_UNTRUSTED');
    assert.equal(await with_({ address: 'https://127.0.0.1:1' }), 'UPSTREAM_UNAVAILABLE');
    assert.equal(
      await with_({ caFile: undefined }),
      'UPSTREAM_UNAVAILABLE',
      'a TLS certificate of an unknown CA',
    );
    writeFileSync(join(bao.dir, 'wrong'), 'f00f00f0-0000-0000-0000-000000000000');
    assert.equal(
      await with_({
        auth: { approle: { roleId: bao.roleId, secretIdFile: join(bao.dir, 'wrong') } },
      }),
      'UPSTREAM_DENIED',
    );
    assert.equal(await with_({}), 'resolved');
    await server.restart();
  });

  test('a server takes the PIN of its token from KV version 2', async () => {
    await server.stop();
    const hsm = { issuing: { pinFile: undefined, pinVault: { path: 'meshca/hsm' } } };
    await using other = await startTestServer({
      tokens,
      dir: server.dir,
      config: { hsm, authorities: { source: 'upstream', upstream: upstream() } },
    });
    assert.ok((await other.mint('spiffe://mesh.test/pin')).serial.length > 0);
    await other.stop();
    assert.equal(
      await codeOf(
        startTestServer({
          tokens,
          dir: server.dir,
          config: {
            hsm: {
              issuing: { pinFile: undefined, pinVault: { path: 'meshca/hsm', field: 'none' } },
            },
            authorities: { source: 'upstream', upstream: upstream() },
          },
        }),
      ),
      'UPSTREAM_INVALID',
    );
  });

  test('a session renews its token before it ends, and logs in again when the token was revoked', async () => {
    await bao.api('POST', 'auth/approle/role/short', {
      token_policies: ['meshca'],
      token_ttl: '6s',
      token_max_ttl: '1h',
    });
    const { data: role } = await bao.api('GET', 'auth/approle/role/short/role-id');
    const { data: secret } = await bao.api('POST', 'auth/approle/role/short/secret-id');
    writeFileSync(join(bao.dir, 'short'), secret.secret_id);
    const short = await session({
      auth: {
        method: 'approle',
        mount: 'approle',
        roleId: role.role_id,
        secretIdFile: join(bao.dir, 'short'),
      },
    });
    assert.equal(
      await short.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' }),
      tokens.tokens.issuing.pin,
    );
    // one login only: what answers after its 6 s was renewed
    await bao.api('DELETE', 'auth/approle/role/short/secret-id', undefined).catch(() => {});
    writeFileSync(join(bao.dir, 'short'), 'gone');
    await past(Math.floor(Date.now() / 1000) + 6);
    assert.equal(
      await short.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' }),
      tokens.tokens.issuing.pin,
    );
    short.close();

    const long = await session();
    await long.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' });
    const { data } = await bao.api('LIST', 'auth/token/accessors');
    for (const accessor of data.keys as string[]) {
      const { data: found } = await bao.api('POST', 'auth/token/lookup-accessor', { accessor });
      if ((found.policies as string[]).includes('meshca'))
        await bao.api('POST', 'auth/token/revoke-accessor', { accessor });
    }
    assert.equal(
      await long.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' }),
      tokens.tokens.issuing.pin,
    );
    assert.equal(
      await codeOf(long.secret({ mount: 'secret', path: 'other', field: 'pin' })),
      'UPSTREAM_DENIED',
    );
    long.close();
  });

  test('a token that reaches its maximum age is no alarm: the next call logs in again', async () => {
    await bao.api('POST', 'auth/approle/role/aged', {
      token_policies: ['meshca'],
      token_ttl: '2s',
      token_max_ttl: '4s',
    });
    const { data: role } = await bao.api('GET', 'auth/approle/role/aged/role-id');
    const { data: secret } = await bao.api('POST', 'auth/approle/role/aged/secret-id');
    writeFileSync(join(bao.dir, 'aged'), secret.secret_id);
    const warnings: unknown[] = [];
    const logger: Logger = {
      ...silentLogger,
      warn: (...said) => void warnings.push(said),
      error: (...said) => void warnings.push(said),
    };
    const aged = await session({
      logger,
      auth: {
        method: 'approle',
        mount: 'approle',
        roleId: role.role_id,
        secretIdFile: join(bao.dir, 'aged'),
      },
    });
    const pin = () => aged.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' });
    assert.equal(await pin(), tokens.tokens.issuing.pin);
    await past(Math.floor(Date.now() / 1000) + 6);
    assert.equal(await pin(), tokens.tokens.issuing.pin);
    assert.deepEqual(warnings, []);
    aged.close();
  });

  test('it logs in with a token from a file, in a namespace, and ignores VAULT_ variables', async () => {
    await bao.api('POST', 'sys/namespaces/team', {});
    await bao.api(
      'POST',
      'sys/mounts/secret',
      { type: 'kv', options: { version: '2' } },
      { namespace: 'team' },
    );
    await bao.api('POST', 'secret/data/hsm', { data: { pin: '4711' } }, { namespace: 'team' });
    await bao.api(
      'PUT',
      'sys/policies/acl/reader',
      { policy: 'path "secret/data/hsm" { capabilities = ["read"] }' },
      { namespace: 'team' },
    );
    const { auth } = await bao.api(
      'POST',
      'auth/token/create',
      { policies: ['reader'], ttl: '10m' },
      { namespace: 'team' },
    );
    const file = join(bao.dir, 'token');
    writeFileSync(file, `${auth.client_token}\n`);
    process.env['VAULT_TOKEN'] = 'wrong';
    process.env['VAULT_NAMESPACE'] = 'wrong';
    try {
      const team = await session({ auth: { method: 'token', file }, namespace: 'team' });
      assert.equal(await team.secret({ mount: 'secret', path: 'hsm', field: 'pin' }), '4711');
      team.close();
      // its end is told by the file, and a new token in the file is taken
      writeFileSync(file, 'revoked\n');
      const late = await session({ auth: { method: 'token', file }, namespace: 'team' });
      const pin = () => late.secret({ mount: 'secret', path: 'hsm', field: 'pin' });
      await assert.rejects(
        pin(),
        ({ code, message, next }: PkiError) =>
          code === 'UPSTREAM_DENIED' &&
          message.includes(`does not know the token in ${file}`) &&
          next.startsWith(`Put a new token into ${file}`),
      );
      writeFileSync(file, `${auth.client_token}\n`);
      assert.equal(await pin(), '4711');
      late.close();
      const outside = await session({ auth: { method: 'token', file } });
      assert.notEqual(
        await codeOf(outside.secret({ mount: 'secret', path: 'hsm', field: 'pin' })),
        'resolved',
      );
      outside.close();
    } finally {
      delete process.env['VAULT_TOKEN'];
      delete process.env['VAULT_NAMESPACE'];
    }
  });

  test('it signs in with a service account token of Kubernetes, read anew at each login', async () => {
    const pem = readFileSync(bao.caFile, 'utf8');
    // the API server is the part of Kubernetes that OpenBao asks about the token; only its answer
    // is played here
    const review = createServer(
      { cert: pem, key: readFileSync(join(bao.dir, 'tls.key')) },
      (incoming, response) => {
        let text = '';
        incoming.on('data', (chunk: Buffer) => void (text += chunk.toString()));
        incoming.on('end', () => {
          const { spec } = JSON.parse(text) as { spec: { token: string } };
          const authenticated = spec.token === jwt('good');
          response.writeHead(201, { 'content-type': 'application/json' });
          response.end(
            JSON.stringify({
              apiVersion: 'authentication.k8s.io/v1',
              kind: 'TokenReview',
              status: authenticated
                ? {
                    authenticated,
                    user: {
                      username: 'system:serviceaccount:meshca:server',
                      uid: 'u1',
                      groups: ['system:serviceaccounts'],
                    },
                    audiences: ['bao'],
                  }
                : { authenticated },
            }),
          );
        });
      },
    );
    const issued = systemClock.now() - 60;
    const part = (value: object): string =>
      Buffer.from(JSON.stringify(value)).toString('base64url');
    const jwt = (name: string): string =>
      `${part({ alg: 'RS256', kid: 'k' })}.${part({ iss: 'https://kubernetes', aud: ['bao'], sub: 'system:serviceaccount:meshca:server', iat: issued, nbf: issued, exp: issued + 3_600, 'kubernetes.io': { namespace: 'meshca', serviceaccount: { name: 'server', uid: 'u1' } } })}.${Buffer.from(name).toString('base64url')}`;
    await new Promise<void>((resolve) => void review.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = review.address() as { port: number };
      await bao.api('POST', 'sys/auth/kubernetes', { type: 'kubernetes' });
      await bao.api('POST', 'auth/kubernetes/config', {
        kubernetes_host: `https://127.0.0.1:${port}`,
        kubernetes_ca_cert: pem,
        disable_local_ca_jwt: true,
        token_reviewer_jwt: jwt('reviewer'),
      });
      await bao.api('POST', 'auth/kubernetes/role/meshca', {
        bound_service_account_names: ['server'],
        bound_service_account_namespaces: ['meshca'],
        audience: 'bao',
        token_policies: ['meshca'],
        token_ttl: '20m',
      });
      const jwtFile = join(bao.dir, 'jwt');
      const inPod = await session({
        auth: { method: 'kubernetes', mount: 'kubernetes', role: 'meshca', jwtFile },
      });
      assert.equal(
        await codeOf(inPod.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' })),
        'UPSTREAM_DENIED',
        'no token yet',
      );
      writeFileSync(jwtFile, jwt('bad'));
      assert.equal(
        await codeOf(inPod.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' })),
        'UPSTREAM_DENIED',
      );
      writeFileSync(jwtFile, jwt('good'));
      assert.equal(
        await inPod.secret({ mount: 'secret', path: 'meshca/hsm', field: 'pin' }),
        tokens.tokens.issuing.pin,
      );
      inPod.close();
    } finally {
      review.closeAllConnections();
      review.close();
    }
  });

  test('credentials in the clear and contradictions are refused before anything starts', async () => {
    const { loadServerConfig } = await import('../../../../src/config/index.ts');
    const codeFor = async (config: object): Promise<string> => {
      const path = join(bao.dir, 'config.json');
      writeFileSync(path, JSON.stringify({ trustDomain: 'mesh.test', ...config }));
      const loaded = await loadServerConfig({ path, env: {} });
      return loaded.ok ? 'ok' : loaded.error.code;
    };
    assert.equal(
      await codeFor({ authorities: { source: 'upstream', upstream: upstream() } }),
      'ok',
    );
    assert.equal(await codeFor({ authorities: { source: 'upstream' } }), 'CONFIG_INVALID');
    assert.equal(
      await codeFor({
        authorities: { upstream: upstream({ address: 'http://vault.example.org:8200' }) },
      }),
      'CONFIG_INVALID',
    );
    assert.equal(
      await codeFor({ authorities: { upstream: upstream({ auth: {} }) } }),
      'CONFIG_INVALID',
    );
    assert.equal(
      await codeFor({
        authorities: {
          upstream: upstream({ auth: { token: { file: 'x' }, kubernetes: { role: 'r' } } }),
        },
      }),
      'CONFIG_INVALID',
    );
    assert.equal(
      await codeFor({ hsm: { issuing: { pinVault: { path: 'x' } } } }),
      'CONFIG_INVALID',
    );
    assert.equal(serverConfigSchema.parse({ trustDomain: 'mesh.test' }).authorities.source, 'hsm');
  });
});
