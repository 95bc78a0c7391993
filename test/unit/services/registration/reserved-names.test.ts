import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import { linkerdServingName, linkerdSuffix } from '../../../../src/domain/index.ts';
import type { AgentCaller, AgentSvid, DelegateCaller } from '../../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  entryInput,
  id,
  local,
  newKey,
} from '../../../support/services-world.ts';

const plane = { namespace: 'linkerd', trustDomain: 'cluster.local' } as const;
const proxy = `web.shop.${linkerdSuffix(plane)}`;
const serving = linkerdServingName(plane);
const reservedDnsNames = ['ca.mesh.test', serving, `*.${linkerdSuffix(plane)}`];
const delegation = (...dnsPatterns: readonly string[]) => ({
  clientId: id('/control/istiod'),
  patterns: [id('/ns/*/sa/*')],
  maxTtlSeconds: 600,
  keyTypes: [],
  dnsPatterns,
  ipRanges: [],
  wildcards: false,
  profile: '',
  expiresAt: 0,
});
const refused = { code: 'DNS_NAME_RESERVED' };

test('no entry, delegation or operator can give the name of a Linkerd proxy or of its CA', async () => {
  await using w = await createServicesWorld({ reservedDnsNames });
  await w.joinAgent('n1');
  for (const name of [proxy, serving]) {
    const [result] = await w.services.entries.create(local, [
      entryInput({ spiffeId: id('/web'), parentId: agentId('n1'), dnsNames: [name] }),
    ]);
    assert.ok(result?.ok === false);
    assert.equal(result.error.code, 'DNS_NAME_RESERVED');
    await assert.rejects(w.services.delegations.create(local, delegation(name)), refused);
    await assert.rejects(
      w.services.mint.mint(local, {
        requestId: '',
        spiffeId: id('/web'),
        dnsNames: [name],
        csrDer: createCsr(newKey()),
        ttlSeconds: 0,
        admin: false,
      }),
      refused,
    );
  }
  const below = delegation(`*.shop.${linkerdSuffix(plane)}`);
  await assert.rejects(w.services.delegations.create(local, below), refused);
});

test('a wildcard of a delegation that reaches the name of a Linkerd proxy does not give it', async () => {
  await using w = await createServicesWorld({ reservedDnsNames });
  await w.services.delegations.create(local, delegation('*.*.*.identity.linkerd.cluster.local'));
  const caller = (await w.mint('/control/istiod', false)) as DelegateCaller;
  const asked = {
    ...{ requestId: uuidv7(), spiffeId: id('/ns/a/sa/web'), ttlSeconds: 0 },
    ...{ ips: [], profile: '' },
  };
  const { outcomes } = await w.services.signing.sign(caller, [
    { ...asked, dnsNames: [proxy], csrDer: createCsr(newKey()) },
  ]);
  assert.deepEqual(
    outcomes.map((each) => (each.ok ? 'ok' : each.error.code)),
    ['DNS_NAME_RESERVED'],
  );
});

test('an entry that is older than the reservation gives the name no more', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-'));
  const remains = { path: join(folder, 'meshca.db'), keys: new Map() };
  try {
    let entryId = '';
    let agent: AgentSvid;
    {
      await using before = await createServicesWorld({}, remains);
      agent = (await before.joinAgent('n1')).svid;
      const spiffeId = id('/web');
      entryId = await before.addEntry({ spiffeId, parentId: agentId('n1'), dnsNames: [proxy] });
      await before.addEntry({
        spiffeId: id('/api'),
        parentId: agentId('n1'),
        dnsNames: ['api.test'],
      });
      await before.services.delegations.create(local, delegation(`*.shop.${linkerdSuffix(plane)}`));
    }
    await using w = await createServicesWorld({ reservedDnsNames }, remains);
    const caller = (await w.callerOf(agent.leaf)) as AgentCaller;
    const item = { requestId: uuidv7(), ttlSeconds: 0, selectors: [], replacesSerial: '' };
    const outcomes = await w.services.svids.signX509(caller, [
      { ...item, entryId, csrDer: createCsr(newKey()) },
    ]);
    assert.deepEqual(
      outcomes.map((each) => (each.ok ? 'ok' : each.error.code)),
      ['DNS_NAME_RESERVED'],
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
