import assert from 'node:assert/strict';
import type { KeyObject } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { silentLogger, uuidv7, type Logger } from '../../../../src/common/runtime/index.ts';
import {
  createCsr,
  generateKeyPairAsync,
  verifyX509Svid,
} from '../../../../src/common/x509/index.ts';
import { rotationOf } from '../../../support/mesh.ts';
import { past, until } from '../../../support/until.ts';
import { foreignSql } from '../../../support/foreign-sql.ts';
import { backupOf, putBack } from '../../../support/restore.ts';
import {
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../../support/server.ts';
import {
  startTokenIssuer,
  tokenAudience,
  type TokenIssuer,
} from '../../../support/token-issuer.ts';

const issuerId = 'spiffe://mesh.test/meshca/token-issuer/ci';
const newKey = async (): Promise<KeyObject> => (await generateKeyPairAsync('ec-p256')).privateKey;

describe('jobs of pipelines with tokens of their platform', () => {
  let issuer: TokenIssuer;
  let server: TestServer;
  let dir: string;
  const alerts: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    error: (fields) => {
      const { code, kind } = fields as Record<string, unknown>;
      if (code === 'OBJECT_NOT_IN_LOG') alerts.push(String(kind));
    },
    child: () => logger,
  };
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'meshca-pipelines-'));
    issuer = await startTokenIssuer();
    writeFileSync(join(dir, 'ca.pem'), issuer.caPem);
    server = await startTestServer({
      logger,
      config: {
        issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
        tokens: {
          issuers: [
            {
              name: 'ci',
              type: 'oidc',
              issuer: issuer.url,
              audiences: [tokenAudience],
              caFile: join(dir, 'ca.pem'),
            },
          ],
        },
      },
    });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await issuer?.[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  const addEntry = async (over: object): Promise<{ id: string; code: string; next: string }> => {
    const { results } = await server.admin('Entries/CreateEntries', {
      entries: [{ parentId: issuerId, selectors: ['oidc:repository:example/app'], ...over }],
    });
    const { entry, problem } = results[0] ?? {};
    return { id: entry?.id ?? '', code: problem?.code ?? '', next: problem?.next ?? '' };
  };
  const issue = (
    token: string,
    over: { key?: KeyObject; spiffeId?: string; ttlSeconds?: number } = {},
  ) =>
    (async () => {
      const privateKey = over.key ?? (await newKey());
      const svid = await unaryCall(server.client(), '/meshca.issuer.v1.Pipelines/IssueWithToken', {
        token,
        csrDer: createCsr(privateKey),
        spiffeId: over.spiffeId ?? '',
        ttlSeconds: over.ttlSeconds ?? 0,
      });
      const credential: Credential = { ...svid, privateKey };
      return { ...svid, credential };
    })();
  const refusal = async (token: string, over: Parameters<typeof issue>[1] = {}): Promise<string> =>
    codeOf(issue(token, over));
  const jobToken = (claims: object = {}): Promise<string> =>
    issuer.token({ repository: 'example/app', environment: 'production', ...claims });
  const end = (credential: Credential) =>
    unaryCall(
      server.client(credential),
      '/meshca.issuer.v1.TokenCertificates/EndTokenCertificate',
      {},
    );
  const foreign = (text: string): void =>
    foreignSql(join(server.config.dataDir, 'meshca.db'), (database) => database.exec(text));
  const records = async (kind: string) =>
    (await server.admin('Audit/ListAuditRecords', { kind })).records;

  test('a job gets a certificate for minutes by an entry below its issuer, on record with the claims', async () => {
    await addEntry({ id: 'deploy', spiffeId: 'spiffe://mesh.test/ci/deploy' });
    const token = await jobToken();
    const { spiffeId, chainDer, rootsDer, entryId, serial, notAfter, notBefore } =
      await issue(token);
    assert.equal(spiffeId, 'spiffe://mesh.test/ci/deploy');
    assert.equal(entryId, 'deploy');
    const svid = unwrap(
      verifyX509Svid({ chainDer, bundle: () => rootsDer, now: Math.floor(Date.now() / 1000) }),
    );
    assert.equal(svid.id.toString(), spiffeId);
    // 600 s and the backdating
    assert.ok(notAfter - notBefore <= 660, `${notAfter - notBefore} s`);
    const [certificate] = (
      await server.admin('Certificates/ListCertificates', { filter: { entryId } })
    ).certificates;
    assert.deepEqual(
      [certificate?.serial, certificate?.kind, certificate?.holder, certificate?.requester],
      [serial, 'token', 'job:ci/repo:example/app:ref:refs/heads/main', issuerId],
    );
    const issued = (await records('certificate.issued')).find(({ canonical }) =>
      canonical.includes(serial),
    );
    assert.match(String(issued?.canonical), /tokenIssuer\W+ci\W/, 'what policies decide by');
  });

  test('a token counts once: a second key is refused, and the same key gets the same certificate', async () => {
    await addEntry({ spiffeId: 'spiffe://mesh.test/ci/deploy' });
    const token = await jobToken();
    const key = await newKey();
    const first = await issue(token, { key });
    assert.equal((await issue(token, { key })).serial, first.serial);
    assert.equal(await refusal(token), 'TOKEN_REPLAYED');
    await server.restart();
    assert.equal(await refusal(token), 'TOKEN_REPLAYED');
    assert.equal((await issue(token, { key })).serial, first.serial);
    await issue(await jobToken());
  });

  test('of many uses at once with different keys exactly one gets a certificate', async () => {
    const token = await jobToken();
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => refusal(token)));
    assert.deepEqual(outcomes.toSorted(), [
      ...Array.from({ length: 7 }, () => 'TOKEN_REPLAYED'),
      'resolved',
    ]);
  });

  test('a mark of use that somebody erased or changed refuses, and raises the alert', async () => {
    const token = await jobToken();
    const key = await newKey();
    await issue(token, { key });
    const columns =
      'id, issuer, subject, grantee, public_key_sha256, used_at, expires_at, serial, ended_at';
    foreign(`CREATE TABLE kept AS SELECT ${columns} FROM token_uses`);
    for (const change of [
      'DELETE FROM token_uses',
      "UPDATE token_uses SET public_key_sha256 = x'00'",
      'UPDATE token_uses SET serial = NULL',
    ]) {
      alerts.length = 0;
      foreign(change);
      // an outsider learns nothing of it
      assert.equal(await refusal(token), 'INTERNAL', change);
      assert.ok(alerts.includes('token-use'), change);
      foreign(`DELETE FROM token_uses; INSERT INTO token_uses SELECT ${columns} FROM kept`);
    }
    foreign('DROP TABLE kept');
    assert.equal(await refusal(token), 'TOKEN_REPLAYED');
  });

  test('a token without a matching entry gets nothing, on record under its issuer', async () => {
    assert.equal(await refusal(await jobToken({ repository: 'evil/app' })), 'ENTRY_NOT_AUTHORIZED');
    assert.equal(
      await refusal(await jobToken(), { spiffeId: 'spiffe://mesh.test/other' }),
      'ENTRY_NOT_AUTHORIZED',
    );
    const refused = (await records('request.refused')).filter(({ actor }) => actor === issuerId);
    assert.ok(refused.length >= 2);
    const { id } = await addEntry({
      spiffeId: 'spiffe://mesh.test/ci/evil',
      selectors: ['oidc:repository:evil/app'],
    });
    const token = await jobToken({ repository: 'evil/app' });
    await issue(token);
    await server.admin('Entries/DeleteEntries', { ids: [id] });
    assert.equal(await refusal(await jobToken({ repository: 'evil/app' })), 'ENTRY_NOT_AUTHORIZED');
  });

  test('a template is filled with allowed claims alone', async () => {
    await addEntry({
      spiffeId: 'spiffe://mesh.test/env/{oidc.environment}',
      selectors: ['oidc:repository:example/env'],
      placeholders: [{ placeholder: 'oidc.environment', allowed: ['staging', 'production'] }],
    });
    const env = (environment: unknown) => jobToken({ repository: 'example/env', environment });
    assert.equal((await issue(await env('staging'))).spiffeId, 'spiffe://mesh.test/env/staging');
    assert.equal(await refusal(await env('../meshca')), 'ENTRY_NOT_AUTHORIZED');
    assert.equal(await refusal(await env(['staging', 'production'])), 'ENTRY_NOT_AUTHORIZED');
  });

  test('where entries give several identities, the job names one: TOKEN_GRANT_AMBIGUOUS', async () => {
    const selectors = ['oidc:repository:example/two'];
    await addEntry({ spiffeId: 'spiffe://mesh.test/two/a', selectors });
    await addEntry({ spiffeId: 'spiffe://mesh.test/two/b', selectors, x509TtlSeconds: 60 });
    const token = await jobToken({ repository: 'example/two' });
    assert.equal(await refusal(token), 'TOKEN_GRANT_AMBIGUOUS');
    const key = await newKey();
    const wanted = { key, spiffeId: 'spiffe://mesh.test/two/b' };
    assert.equal(await refusal(token, { ...wanted, ttlSeconds: 61 }), 'TTL_OUT_OF_RANGE');
    const explain = (text: string) =>
      unaryCall(server.client(), '/meshca.issuer.v1.Pipelines/ExplainToken', { token: text });
    // neither a refusal nor an explanation uses the token up
    const before = await explain(token);
    assert.deepEqual(
      before.grants.map(({ spiffeId }) => spiffeId),
      ['spiffe://mesh.test/two/a', 'spiffe://mesh.test/two/b'],
    );
    assert.equal(before.usedAt, 0);
    assert.equal((await issue(token, wanted)).spiffeId, wanted.spiffeId);
    assert.ok((await explain(token)).usedAt > 0);
    const told = await server.admin('Tokens/ExplainIdentityToken', { token });
    assert.match(
      told.refused.find(({ entryId }) => entryId === 'deploy')?.reason ?? '',
      /lacks oidc:repository:example\/app/,
    );
  });

  test('what a token led to is no credential: it may be given back and nothing else', async () => {
    await addEntry({
      id: 'none',
      spiffeId: 'spiffe://mesh.test/ci/none',
      selectors: ['oidc:repository:example/none'],
    });
    const { credential } = await issue(await jobToken({ repository: 'example/none' }));
    const client = server.client(credential);
    const csrDer = createCsr(await newKey());
    await server.admin('Delegations/CreateDelegation', {
      delegation: {
        clientId: 'spiffe://mesh.test/ci/none',
        patterns: ['spiffe://mesh.test/x/*'],
        maxTtlSeconds: 60,
      },
    });
    const calls = [
      unaryCall(client, '/meshca.issuer.v1.AgentIssuer/RenewAgent', {
        requestId: uuidv7(),
        csrDer,
        agentVersion: '',
      }),
      unaryCall(client, '/meshca.signing.v1.Signing/Sign', {
        requestId: uuidv7(),
        csrDer,
        spiffeId: 'spiffe://mesh.test/x/y',
      }),
      unaryCall(client, '/meshca.signing.v1.Signing/SignDownstreamAuthority', {
        requestId: uuidv7(),
        csrDer,
      }),
      unaryCall(client, '/meshca.admin.v1.Server/GetStatus', {}),
      unaryCall(client, '/meshca.issuer.v1.Pipelines/IssueWithToken', {
        token: await jobToken(),
        csrDer,
      }),
    ];
    for (const code of await Promise.all(calls.map(codeOf)))
      assert.ok(['CALLER_NOT_ADMITTED', 'DOWNSTREAM_NOT_ALLOWED'].includes(code), code);
    for (const flag of ['admin', 'downstream'])
      assert.equal(
        (await addEntry({ spiffeId: 'spiffe://mesh.test/ci/x', [flag]: true })).code,
        'PARENT_INVALID',
      );
  });

  test('a certificate that is given back ends the token, and is revoked where its profile allows that', async () => {
    await addEntry({
      spiffeId: 'spiffe://mesh.test/ci/revocable',
      selectors: ['oidc:repository:example/revocable'],
      profile: 'revocable',
    });
    const token = await jobToken({ repository: 'example/revocable' });
    const key = await newKey();
    const { credential, serial } = await issue(token, { key });
    assert.equal((await end(credential)).revoked, true);
    assert.equal(await refusal(token, { key }), 'TOKEN_REPLAYED');
    assert.equal(await codeOf(end(credential)), 'CERTIFICATE_REVOKED');
    const shown = await server.admin('Certificates/GetCertificate', { serial });
    assert.equal(shown.revocationReason, 'cessationOfOperation');
    const short = await issue(await jobToken());
    const told = await end(short.credential);
    assert.deepEqual([told.revoked, told.notAfter], [false, short.notAfter]);
    const minted = await server.mint('spiffe://mesh.test/minted');
    assert.equal(await codeOf(end(minted)), 'NOT_FOUND');
    assert.equal((await records('identity-token.ended')).length, 2);
  });

  test('no changed row lets the end of a certificate pass in silence', async () => {
    await addEntry({
      spiffeId: 'spiffe://mesh.test/ci/silent',
      selectors: ['oidc:repository:example/silent'],
      profile: 'revocable',
    });
    const token = await jobToken({ repository: 'example/silent' });
    const key = await newKey();
    const { credential, serial } = await issue(token, { key });
    // over a connection that stands, whose caller is not looked up anew
    const client = server.client(credential);
    const endHere = () =>
      unaryCall(client, '/meshca.issuer.v1.TokenCertificates/EndTokenCertificate', {});
    const own = unaryCall(client, '/meshca.signing.v1.Signing/GetDelegation', {});
    assert.equal(await codeOf(own), 'CALLER_NOT_ADMITTED');
    const where = `WHERE serial = x'${serial.padStart(serial.length + (serial.length % 2), '0')}'`;
    for (const [table, change, kind] of [
      ['certificates', "profile = 'short-lived'", 'certificate'],
      ['certificates', "request_id = 'x'", 'certificate'],
      ['token_uses', 'serial = NULL', 'token-use'],
    ] as const) {
      alerts.length = 0;
      foreign(`CREATE TABLE kept AS SELECT * FROM ${table} ${where}`);
      foreign(`UPDATE ${table} SET ${change} ${where}`);
      assert.equal(await codeOf(endHere()), 'INTERNAL', change);
      assert.ok(alerts.includes(kind), change);
      foreign(`INSERT OR REPLACE INTO ${table} SELECT * FROM kept; DROP TABLE kept`);
    }
    assert.equal((await endHere()).revoked, true);
    assert.equal(await refusal(token, { key }), 'TOKEN_REPLAYED');
  });

  test('a token from before a restore counts no more, unless its mark came back', async () => {
    const marked = { token: await jobToken(), key: await newKey() };
    const { serial } = await issue(marked.token, marked);
    const backup = await backupOf(server);
    const used = await jobToken();
    await issue(used);
    const unused = await jobToken();
    await putBack(server, backup);
    await server.restart();
    const { expected } = await server.admin('Server/ShowRestore');
    await server.admin('Server/AcceptRestore', { size: expected });
    assert.equal(await refusal(used), 'TOKEN_REPLAYED', 'a thief has another key');
    assert.equal(await refusal(unused), 'TOKEN_REPLAYED', 'nobody can tell it from a used one');
    assert.equal((await issue(marked.token, marked)).serial, serial);
    // the time of the restore is that of the log, whatever its row says
    for (const change of ['time_ms = 1', "kind = 'database.backup'"]) {
      foreign(`UPDATE audit SET ${change} WHERE subject = 'database' AND actor LIKE 'uid:%'`);
      assert.equal(await refusal(used), 'TOKEN_REPLAYED', change);
      await server.restart();
      assert.equal(await refusal(used), 'TOKEN_REPLAYED', `${change}, after a restart`);
    }
    // a token of the very second of the restore may be from before it
    await past(Math.floor(Date.now() / 1000));
    await issue(await jobToken());
  });

  test('a denial of the policy is explained, and leaves the token unused', async () => {
    const activate = async (rule: object) => {
      const { version } = await server.admin('Policies/GetPolicy');
      const text = JSON.stringify({
        meshcaPolicy: 1,
        rules: [rule, { name: 'all', effect: 'allow' }],
      });
      await server.admin('Policies/ActivatePolicy', { text, version, reason: 'a test' });
    };
    const token = await jobToken();
    const explained = async () =>
      (await server.admin('Tokens/ExplainIdentityToken', { token })).grants.map(
        ({ denied }) => denied,
      );
    await activate({ name: 'no-ci', effect: 'deny', message: 'frozen', kinds: ['token'] });
    assert.equal(await refusal(token), 'POLICY_DENIED');
    const [denied, ...others] = await explained();
    assert.match(denied ?? '', /frozen/);
    assert.deepEqual(others, []);
    const [refused] = (await records('request.refused')).toReversed();
    assert.match(refused?.canonical.toString() ?? '', /"policyRule":"no-ci"/);
    await activate({ name: 'ci', effect: 'allow', kinds: ['token'] });
    assert.deepEqual(await explained(), ['']);
    assert.equal(await refusal(token, { key: await newKey() }), 'resolved');
  });

  test('an entry below an issuer names whose tokens it means, and only claims', async () => {
    const add = (over: object) => addEntry({ spiffeId: 'spiffe://mesh.test/ci/y', ...over });
    assert.equal(
      (await add({ selectors: ['oidc:environment:production'] })).code,
      'SELECTORS_WEAK',
    );
    assert.equal((await add({ selectors: ['unix:uid:0'] })).code, 'SELECTOR_INVALID');
    assert.equal((await add({ federatesWith: ['partner.test'] })).code, 'PARENT_INVALID');
    const foreign = await add({ parentId: 'spiffe://mesh.test/meshca/token-issuer/other' });
    assert.equal(foreign.code, 'PARENT_INVALID');
    assert.match(foreign.next, /token issuers/);
    const weak = { selectors: ['oidc:environment:x'], allowWeakSelectors: true };
    assert.equal((await add(weak)).code, '');
  });

  test('a new root waits for each job by name, until its certificate ends', async () => {
    await addEntry({
      spiffeId: 'spiffe://mesh.test/ci/rotated',
      selectors: ['oidc:repository:example/rotated'],
    });
    const jobs = await Promise.all(
      ['a', 'b'].map((sub) => jobToken({ repository: 'example/rotated', sub: `job:${sub}` })),
    );
    for (const token of jobs) await issue(token);
    await server.admin('Authorities/RotateAuthorities', { kind: 'root', stopAfter: 'published' });
    await until(async () => {
      const published = await rotationOf(server).inState('root', 'published');
      const waiting = published?.confirmation?.inferredHolders ?? [];
      return ['job:ci/job:a', 'job:ci/job:b'].every((job) =>
        waiting.some(({ holder }) => holder === job),
      );
    }, 'both jobs are named');
  });

  test('the list of issuers shows that an issuer can not be asked, and why', async () => {
    const { issuers } = await server.admin('Tokens/ListTokenIssuers');
    assert.deepEqual([issuers[0]?.name, issuers[0]?.state], ['ci', 'reachable']);
    await issuer.stop();
    await server.restart();
    assert.equal(await refusal(await jobToken()), 'TOKEN_ISSUER_UNREACHABLE');
    const [down] = (await server.admin('Tokens/ListTokenIssuers')).issuers;
    assert.equal(down?.state, 'unreachable');
    assert.match(down?.reason ?? '', /ECONNREFUSED/);
    await issuer.start();
  });
});
