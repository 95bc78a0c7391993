import {
  startHaproxy,
  startNginx,
  startPostgres,
  startRedis,
} from '../../../support/servers/index.ts';
import { servedSuite } from '../../../support/served-suite.ts';

servedSuite({ name: 'nginx', start: startNginx });
servedSuite({ name: 'HAProxy', start: (at) => startHaproxy(at) });
servedSuite({ name: 'PostgreSQL', start: startPostgres });
servedSuite({ name: 'Redis', start: startRedis });
