import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import type { AuditRecord } from '../../../../src/domain/index.ts';
import type { AgentCaller, DelegateCaller } from '../../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { nextTurn, until } from '../../../support/until.ts';

const csrDer = createCsr(newKey());

/** Signs without pause until told to stop, and ends the right at a random moment in between. */
async function race(
  sign: () => Promise<readonly boolean[]>,
  end: () => Promise<unknown>,
): Promise<{ released: number; afterwards: number }> {
  let ended = false;
  let stop = false;
  let released = 0;
  let afterwards = 0;
  let begunAfterwards = 0;
  const workers = Array.from({ length: 4 }, async () => {
    while (!stop) {
      const begunAfter = ended;
      const done = await sign().catch(() => []);
      if (begunAfter) begunAfterwards += 1;
      released += done.filter(Boolean).length;
      if (begunAfter) afterwards += done.filter(Boolean).length;
      await nextTurn();
    }
  });
  try {
    await until(() => released > 0, 'something is released');
    const more = released + randomInt(200);
    while (released < more) await nextTurn();
    await end();
    ended = true;
    await until(() => begunAfterwards >= 2 * workers.length, 'attempts after the end of the right');
  } finally {
    stop = true;
  }
  await Promise.all(workers);
  return { released, afterwards };
}

const lastIssued = async (w: ServicesWorld, subject: string): Promise<number> => {
  let last = 0;
  let after: string | undefined;
  do {
    const page: { items: readonly AuditRecord[]; next: string | undefined } =
      await w.store.audit.list(
        { kind: 'certificate.issued', subject },
        after === undefined ? { size: 500 } : { size: 500, after },
      );
    for (const record of page.items) last = Math.max(last, record.sequence);
    after = page.next;
  } while (after !== undefined);
  return last;
};

test('under load nothing is issued after the record of a ban, a deleted entry or a revoked delegation', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-rights-'));
  try {
    await using w = await createServicesWorld(
      { signingRate: { perSecond: 1e6, burst: 1e6 }, refusalRate: { perSecond: 1e6, burst: 1e6 } },
      { path: join(folder, 'meshca.db'), keys: new Map() },
    );
    for (let round = 0; round < 4; round += 1) {
      const name = `n${round}`;
      const { caller } = await w.joinAgent(name);
      const signAs =
        (agent: AgentCaller, entryId: string) => async (): Promise<readonly boolean[]> =>
          (
            await w.services.svids.signX509(
              agent,
              Array.from({ length: 5 }, () => ({
                requestId: uuidv7(),
                entryId,
                csrDer,
                ttlSeconds: 0,
                selectors: [],
                replacesSerial: '',
              })),
            )
          ).map(({ ok }) => ok);
      await w.addEntry({
        id: `e${round}`,
        spiffeId: id(`/deleted/${round}`),
        parentId: agentId(name),
      });
      await w.addEntry({
        id: `b${round}`,
        spiffeId: id(`/banned/${round}`),
        parentId: agentId(name),
      });
      const client = id(`/cp/${round}`);
      const delegation = await w.services.delegations.create(local, {
        clientId: client,
        patterns: [id(`/revoked/${round}`)],
        maxTtlSeconds: 600,
        keyTypes: [],
        dnsPatterns: [],
        ipRanges: [],
        wildcards: false,
        profile: '',
        expiresAt: 0,
      });
      const delegate = (await w.mint(`/cp/${round}`, false)) as DelegateCaller;
      const acts = [
        {
          kind: 'entry.deleted',
          record: id(`/deleted/${round}`),
          subject: id(`/deleted/${round}`),
          run: () =>
            race(signAs(caller, `e${round}`), () =>
              w.services.entries.delete(local, [`e${round}`]),
            ),
        },
        {
          kind: 'delegation.revoked',
          record: client,
          subject: id(`/revoked/${round}`),
          run: () =>
            race(
              async () =>
                (
                  await w.services.signing.sign(delegate, [
                    {
                      requestId: uuidv7(),
                      spiffeId: id(`/revoked/${round}`),
                      dnsNames: [],
                      ips: [],
                      profile: '',
                      csrDer,
                      ttlSeconds: 0,
                    },
                  ])
                ).outcomes.map(({ ok }) => ok),
              () => w.services.delegations.revoke(local, delegation.id, ''),
            ),
        },
        {
          kind: 'agent.banned',
          record: agentId(name),
          subject: id(`/banned/${round}`),
          run: () =>
            race(signAs(caller, `b${round}`), () =>
              w.services.agents.ban(local, agentId(name), ''),
            ),
        },
      ];
      for (const { kind, record, subject, run } of acts) {
        const { released, afterwards } = await run();
        assert.ok(released > 0, `${kind}: the load released something before`);
        assert.equal(afterwards, 0, kind);
        const [ended] = (await w.store.audit.list({ kind, subject: record }, { size: 1 })).items;
        assert.ok(ended !== undefined && (await lastIssued(w, subject)) < ended.sequence, kind);
      }
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
