import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { createCsr } from '../../../src/common/x509/index.ts';
import type { Position } from '../../../src/domain/index.ts';
import type {
  AdminCaller,
  AgentCaller,
  AttestStep,
  SyncMessage,
} from '../../../src/services/index.ts';
import { settle } from '../../support/agent.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../support/services-world.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;

async function withDatabase(
  act: (remains: ServicesWorld['remains']) => Promise<void>,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-services-'));
  try {
    await act({ path: join(folder, 'meshca.db'), keys: new Map() });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

test('tokens, sessions, bans, roles, requests and sync positions outlast a restart', async () => {
  await withDatabase(async (remains) => {
    const key = newKey();
    const start = (token: string) => ({
      protocolVersion: 1,
      agentVersion: '1',
      requestId: uuidv7(),
      csrDer: createCsr(key),
      evidence: {
        kind: 'node' as const,
        type: 'join_token',
        payload: Buffer.from(token),
      },
    });
    const attest = async (
      w: ServicesWorld,
      token: string,
    ): Promise<Extract<AttestStep, { kind: 'svid' }>> =>
      (await w.services.attestation
        .open({ peer: 'p', serverCertificateSha256: Buffer.alloc(32) })
        .start(start(token))) as Extract<AttestStep, { kind: 'svid' }>;
    const entry = { spiffeId: id('/web'), parentId: agentId('n1') };
    const item = {
      requestId: uuidv7(),
      entryId: 'e',
      csrDer: createCsr(key),
      ttlSeconds: 0,
      selectors: [],
      replacesSerial: '',
    };
    const sync = async (
      w: ServicesWorld,
      caller: AgentCaller,
      position: Position | undefined,
    ): Promise<readonly Extract<SyncMessage, { kind: 'entries' }>[]> => {
      const messages: SyncMessage[] = [];
      await w.services.sync.open(
        caller,
        {
          protocolVersion: 1,
          agentVersion: '1',
          capabilities: [],
          position,
          bundleSequence: 1,
          survivedOutageSeconds: 0,
        },
        { send: (message) => messages.push(message) > 0, close: () => {} },
      );
      await settle();
      await w.services.sync.settled();
      return messages.filter((message) => message.kind === 'entries');
    };
    let token = '';
    let serial = '';
    let svidSerial = '';
    let position: Position | undefined;
    let admin: AdminCaller | undefined;
    let banned: AgentCaller | undefined;
    let svid: Extract<AttestStep, { kind: 'svid' }>['svid'] | undefined;
    {
      await using w = await createServicesWorld({}, remains);
      token = (
        await w.services.tokens.create(local, { agentName: 'n1', ttlSeconds: 0, nodeSelectors: [] })
      ).token;
      svid = (await attest(w, token)).svid;
      serial = svid.leaf.serial;
      await w.addEntry({ id: 'e', ...entry });
      const caller = (await w.callerOf(svid.leaf)) as AgentCaller;
      const [made] = await w.services.svids.signX509(caller, [item]);
      assert.ok(made?.ok);
      svidSerial = made.leaf.serial;
      position = (await sync(w, caller, undefined)).at(-1)?.position;
      assert.ok(position);
      banned = (await w.joinAgent('n2')).caller;
      await w.services.agents.ban(local, agentId('n2'), 'stolen');
      await w.services.roles.put(local, {
        name: 'reader',
        verbs: ['entry.read'],
        prefixes: [id('/')],
        members: [id('/ops')],
      });
      admin = (await w.mint('/ops', true)) as AdminCaller;
    }
    await using w = await createServicesWorld({}, remains);
    assert.equal((await attest(w, token)).svid.leaf.serial, serial);
    const caller = (await w.callerOf((svid as NonNullable<typeof svid>).leaf)) as AgentCaller;
    assert.equal(caller.generation, 1);
    const [again] = await w.services.svids.signX509(caller, [item]);
    assert.ok(again?.ok && again.leaf.serial === svidSerial);
    await assert.rejects(w.services.callers.stillStands(banned), rejectsWith('AGENT_BANNED'));
    assert.equal((await w.services.entries.get(admin, 'e')).id, 'e');
    await assert.rejects(
      w.services.entries.update(admin, entryInput({ id: 'e', ...entry, hint: 'x' }), 0),
      rejectsWith('ROLE_MISSING'),
    );
    assert.deepEqual(
      await sync(w, caller, position),
      [],
      'nothing has changed, and the position is still good',
    );
  });
});

test('entries that race with a template leave one of the two, never both', async () => {
  await withDatabase(async (remains) => {
    await using w = await createServicesWorld({}, remains);
    for (let round = 0; round < 10; round += 1) {
      const template = entryInput({
        id: `t${round}`,
        spiffeId: id(`/r${round}/{unix.user}`),
        parentId: agentId('n1'),
        placeholders: { 'unix.user': ['alice'] },
      });
      const stated = entryInput({
        id: `s${round}`,
        spiffeId: id(`/r${round}/alice`),
        parentId: agentId('n1'),
      });
      const both = await Promise.all([
        w.services.entries.create(local, [template]),
        w.services.entries.create(local, [stated]),
      ]);
      assert.deepEqual(
        both
          .flat()
          .map((each) => (each.ok ? 'ok' : each.error.code))
          .sort(),
        ['ALREADY_EXISTS', 'ok'],
      );
    }
  });
});
