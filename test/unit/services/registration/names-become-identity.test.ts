import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AdminCaller } from '../../../../src/services/index.ts';
import {
  createServicesWorld,
  entryInput,
  id,
  local,
  selector,
} from '../../../support/services-world.ts';

test('who may write an entry of names makes no identity with these names of it', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const admin = (await w.mint('/team/anna', true)) as AdminCaller;
  await w.services.roles.put(local, {
    name: 'shop',
    verbs: ['entry.*'],
    prefixes: ['dns:.shop.internal', id('/shop/')],
    members: [id('/team/anna')],
  });
  const entry = (profile: 'short' | 'short-lived', dnsNames = ['www.shop.internal']) =>
    entryInput({
      id: 'shop',
      spiffeId: id('/shop/front'),
      parentId: caller.spiffeId,
      selectors: [selector('target:name:web')],
      dnsNames,
      profile,
    });
  await w.addEntry(entry('short'));
  const update = (...changed: Parameters<typeof entry>) =>
    w.services.entries.update(admin, entry(...changed), 0);
  await update('short', ['www.shop.internal', 'api.shop.internal']);
  await assert.rejects(update('short-lived'), { code: 'ROLE_MISSING' });
  await w.services.entries.update(local, entry('short-lived'), 0);
  // names that were granted to an identity are kept, and not taken for those of a scope
  await update('short-lived');
  await update('short-lived', []);
});
