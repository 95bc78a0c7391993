import assert from 'node:assert/strict';
import { test } from 'node:test';
import { entryOperations } from '../../../../src/api/admin/entries.ts';
import { roleOperations } from '../../../../src/api/admin/roles.ts';
import { pageOf } from '../../../../src/api/messages/common.ts';
import type { OperationDependencies } from '../../../../src/api/operation.ts';
import { maximumPageSize } from '../../../../src/services/requests.ts';
import {
  agentId,
  createServicesWorld,
  id,
  local,
  selector,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const dependenciesOf = ({ services, clock }: ServicesWorld): OperationDependencies =>
  ({ services, clock }) as unknown as OperationDependencies;

const joinToken = (w: ServicesWorld, agentName: string) =>
  w.services.tokens.create(local, { agentName, ttlSeconds: 0, nodeSelectors: [] });

const entry = (parentId: string) => ({ id: '', spiffeId: id('/web'), parentId });

const entriesPreview = async (
  w: ServicesWorld,
  parents: readonly string[],
): Promise<readonly string[]> => {
  const request = { entries: parents.map(entry) } as never;
  const lines = await entryOperations.CreateEntries.preview?.(dependenciesOf(w), local, request);
  return (lines ?? []).filter((line) => line.startsWith('now: '));
};

const rolePreview = async (
  w: ServicesWorld,
  role: { readonly name: string; readonly members: readonly string[] },
): Promise<readonly string[]> => {
  const request = { role: { verbs: ['entry.read'], prefixes: [id('/')], ...role } } as never;
  return (await roleOperations.PutRole.preview?.(dependenciesOf(w), local, request)) ?? [];
};

test('an approver sees the open join tokens of a parent among any number of other tokens', async () => {
  await using w = await createServicesWorld();
  const own = [await joinToken(w, 'node')];
  for (let made = 0; made < maximumPageSize; made += 1) await joinToken(w, 'other');
  own.push(await joinToken(w, 'node'));
  const [standing, ...tokens] = await entriesPreview(w, [agentId('node')]);
  assert.equal(standing, `now: the parent ${agentId('node')} has not joined`);
  assert.deepEqual(
    tokens
      .map((line) => / the join token (\S+) of .* lets a node become /.exec(line)?.[1])
      .toSorted(),
    own.map(({ record }) => record.id).toSorted(),
  );
});

test('an approver sees the open join token of each parent, however many parents there are', async () => {
  await using w = await createServicesWorld();
  const { record } = await joinToken(w, 'last');
  const parents = Array.from({ length: 20 }, (_, at) => agentId(`n${at}`));
  const lines = await entriesPreview(w, [...parents, agentId('last')]);
  assert.equal(lines.filter((line) => line.includes(record.id)).length, 1);
  assert.equal(
    lines.at(-1),
    'now: not looked up was whether the other parents (1) have joined, see meshca agent show: ' +
      agentId('last'),
  );
});

test('the preview of a role compares it with the present one on whatever page that stands', async () => {
  await using w = await createServicesWorld();
  const put = (name: string, members: readonly string[]) =>
    w.services.roles.put(local, { name, verbs: ['entry.read'], prefixes: [id('/')], members });
  for (let made = 0; made < maximumPageSize; made += 1)
    await put(`a${String(made).padStart(4, '0')}`, [id('/ops/a')]);
  const present = await rolePreview(w, { name: 'zebra', members: [id('/ops/z')] });
  await put('zebra', [id('/ops/y'), id('/ops/z')]);
  const lines = await rolePreview(w, { name: 'zebra', members: [id('/ops/z')] });
  assert.notDeepEqual(lines, present, 'it does not look like a new role');
  assert.ok(
    lines.some((line) => line.startsWith('- ') && line.includes(id('/ops/y'))),
    lines.join('\n'),
  );
});

test('an approver of a role sees each entry that gives the identity of each member', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const member = id('/ops/anna');
  const entries: string[] = [];
  for (let uid = 0; uid < 21; uid += 1) {
    const selectors = [selector(`unix:uid:${uid}`)];
    entries.push(await w.addEntry({ spiffeId: member, parentId: caller.spiffeId, selectors }));
  }
  const others = Array.from({ length: 20 }, (_, at) => id(`/ops/o${at}`));
  const lines = await rolePreview(w, { name: 'ops', members: [...others, member] });
  const shown = lines.filter((line) => line.startsWith('now: the entry '));
  assert.deepEqual(
    shown.map((line) => line.split(' ')[3]).toSorted(),
    entries.toSorted(),
    lines.join('\n'),
  );
});

test('a page of the API has the one maximum of the services', () => {
  const { signal } = new AbortController();
  const sizes = [0, 1, 500, 501, 4_294_967_295].map(
    (size) => pageOf({ size, token: '' }, signal).size,
  );
  assert.deepEqual(sizes, [100, 1, 500, 500, 500]);
  assert.deepEqual(pageOf(null, signal), { size: 100, signal });
});
