// A process that holds a database: prints `open`, then the number of each audit record once its
// append has resolved. Arguments: path of the database.
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import { openStore } from '../../support/open-store.ts';

const path = process.argv[2] as string;
const store = await openStore({
  path,
  clock: systemClock,
  logger: silentLogger,
  pid: process.pid,
});
process.stdout.write('open\n');
for (let count = 1; ; count += 1) {
  await store.audit.append([
    { timeMs: count, actor: 'server', kind: 'test.counted', subject: String(count), detail: {} },
  ]);
  process.stdout.write(`${count}\n`);
}
