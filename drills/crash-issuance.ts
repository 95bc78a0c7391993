import { drillBootstrap } from './crash-bootstrap.ts';
import { drillKills } from './crash-kills.ts';
import { drillOrder } from './crash-order.ts';
import { drillRights } from './crash-rights.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { createWorld } from './world.ts';

const parts = ['order', 'kills', 'rights', 'first-start'] as const;

/**
 * Promise 2: the intent is durable, then signed, then recorded and durable, then released. Promise
 * 3: at the end of a right.
 */
export const crashIssuance: Drill = {
  name: 'crash-issuance',
  promise:
    'no released certificate is unrecorded, no unfinished one is signed later, nothing is ' +
    'released after a ban or delete',
  options: [
    '--synchronous off    what it looks like when commits are not synced: must fail',
    `--only PART,PART     of ${parts.join(', ')}`,
    '--kills N            kills of server and signers (default 300, 24 with --short)',
    '--endings N          bans and deletes (default 80, 8 with --short)',
  ],
  async run(context) {
    const breaches = new Breaches();
    const started = performance.now();
    const only = context.options['only']?.split(',') ?? parts;
    const off = (context.options['synchronous'] ?? 'full').toLowerCase() === 'off';
    const wants = (part: (typeof parts)[number]): boolean => only.includes(part);
    const figures: Record<string, unknown> = {};
    if (wants('order')) {
      await using world = await createWorld({ signal: context.signal });
      figures['order'] = await drillOrder(world, context, breaches, off ? 'OFF' : 'FULL');
    }
    if (wants('kills') || wants('rights')) {
      // no measurement of the signing mode at each of the many starts
      await using world = await createWorld({ signal: context.signal, hsm: { mode: 'sync' } });
      if (wants('kills')) figures['kills'] = await drillKills(world, context, breaches);
      if (wants('rights')) figures['rights'] = await drillRights(world, context, breaches);
    }
    if (wants('first-start')) figures['firstStart'] = await drillBootstrap(context, breaches);
    return {
      figures: {
        seconds: round((performance.now() - started) / 1000, 1),
        ...figures,
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};
