import { Breaches, type Drill } from './drill.ts';
import { displayColumns } from './mutation/alterations.ts';
import { MutationMatrix } from './mutation/matrix.ts';
import { isRefused } from './mutation/plays.ts';
import { shareOptions } from './share.ts';
import { MutationWorld } from './mutation/world.ts';

/** Alters each column of the schema past the server, and plays every grant. */
export const mutation: Drill = {
  name: 'mutation',
  promise:
    'nothing that is written to the database past the server grants anything, and it is announced',
  options: ['--only running|stopped', '--tables NAME,NAME', ...shareOptions],
  async run(context) {
    const { options, say } = context;
    const breaches = new Breaches();
    await using world = await MutationWorld.create();
    const matrix = new MutationMatrix(world, context, breaches);
    await matrix.begin();
    for (const [play, outcome] of matrix.baseline) say(`${play}: ${outcome.slice(0, 90)}`);
    const granted = [...matrix.baseline.values()].filter((outcome) => !isRefused(outcome)).length;
    const only = options['only'];
    if (only !== 'stopped') await matrix.running(only === 'running' ? 1 : 0.5);
    if (only !== 'running') await matrix.stopped();
    return {
      figures: {
        ...matrix.figures,
        granted,
        displayColumns: Object.keys(displayColumns).length,
      },
      broken: breaches.list,
    };
  },
};
