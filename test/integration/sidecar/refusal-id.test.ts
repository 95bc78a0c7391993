import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { runCli } from '../../../src/cli/program.ts';
import { fromServiceError, workloadContract } from '../../../src/common/wire/index.ts';
import { readCanonical } from '../../../src/domain/index.ts';
import { defer } from '../../support/agent-fake-server.ts';
import { agentSeat } from '../../support/agent-seat.ts';
import { testContext } from '../../support/command.ts';
import { startTestServer } from '../../support/server.ts';
import { createTokens } from '../../support/softhsm.ts';
import { until } from '../../support/until.ts';
import { collect, header } from './local-server/support.ts';

test('a refusal of the server has one ID: for the workload, for explain on its node, and in the audit log', async (context) => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-refusal-'));
  defer(context, () => rm(dir, { recursive: true, force: true }));
  const tokens = await createTokens();
  defer(context, () => tokens[Symbol.asyncDispose]());
  let token = '';
  {
    // an entry that the server, started again without an address for CRLs, can not serve
    await using server = await startTestServer({
      dir,
      tokens,
      config: { issuance: { crlBaseUrl: 'http://crl.test/crl' } },
    });
    const made = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
    token = made.token;
    const { results } = await server.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: 'spiffe://mesh.test/web',
          parentId: made.agentId,
          selectors: [`unix:uid:${process.getuid?.()}`],
          profile: 'revocable',
        },
      ],
    });
    assert.equal(results[0]?.outcome, 'entry');
  }
  const server = await startTestServer({ dir, tokens });
  defer(context, () => server[Symbol.asyncDispose]());
  const seat = await agentSeat(server, { joinToken: { token } });
  defer(context, () => seat[Symbol.asyncDispose]());
  await seat.start();
  await seat.connected();
  await until(() => seat.agent.status().entries === 1, 'its entry');

  const folder = dirname(seat.dataDir);
  const { SpiffeWorkloadAPI } = workloadContract().packages;
  const workload = new SpiffeWorkloadAPI(`unix:${join(folder, 'w')}`, credentials.createInsecure());
  context.after(() => workload.close());
  const error = fromServiceError(await collect(workload.FetchX509SVID({}, header())).error());
  const refusalId = String(error.detail['refusalId']);
  assert.match(refusalId, /^[0-9a-f-]{36}$/);

  const { context: cli, seen } = testContext();
  const explain = ['explain', '--refusal', refusalId, '--socket', join(folder, 'l')];
  assert.equal(await runCli(explain, cli), 0, seen.err);
  assert.match(seen.out, new RegExp(`refused: ${error.code}`));
  assert.match(seen.out, new RegExp(refusalId));

  const { records } = await server.admin('Audit/ListAuditRecords', { kind: 'certificate.refused' });
  const refused = records
    .map(({ canonical }) => readCanonical(canonical))
    .find((content) => content?.detail['refusalId'] === refusalId);
  assert.equal(refused?.detail['code'], error.code);
});
