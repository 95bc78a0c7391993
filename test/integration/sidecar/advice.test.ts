import assert from 'node:assert/strict';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentSeat } from '../../support/agent-seat.ts';
import { codeOf, startTestServer } from '../../support/server.ts';

// What the advice of a code says is done here, and must help. The table: docs/advice.md.

test('an agent whose SVID file is damaged is connected again once the file is moved and a new token given', async () => {
  await using server = await startTestServer();
  const tokenFor = async (): Promise<string> =>
    (await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' })).token;
  await using seat = await agentSeat(server, { joinToken: { token: await tokenFor() } });
  await seat.start();
  await seat.connected();
  await seat.stop();
  const file = join(seat.dataDir, 'agent-svid.json');
  await writeFile(file, '{');
  assert.equal(await codeOf(seat.start()), 'STATE_CORRUPT');

  await rename(file, `${seat.dataDir}-svid.json`);
  await using again = await agentSeat(
    server,
    { joinToken: { token: await tokenFor() } },
    { dataFrom: seat.dataDir },
  );
  await again.start();
  await again.connected();
});
