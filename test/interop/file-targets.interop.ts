import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runDrill } from '../support/drill.ts';
import {
  startCaddy,
  startEnvoyFiles,
  startHaproxy,
  startTraefik,
} from '../support/servers/index.ts';
import { servedSuite } from '../support/served-suite.ts';
import { foreignProgram } from './foreign-programs.ts';

const [envoy = ''] = foreignProgram('envoy');
const [caddy = ''] = foreignProgram('caddy');
const [traefik = ''] = foreignProgram('traefik');

servedSuite({ name: 'Envoy', start: (at) => startEnvoyFiles(at, envoy), watches: true });
servedSuite({ name: 'HAProxy, by a reload', start: (at) => startHaproxy(at, 'reload') });
servedSuite({ name: 'Caddy', start: (at) => startCaddy(at, caddy) });
servedSuite({
  name: 'Traefik',
  start: (at) => startTraefik(at, traefik),
  failsMeanwhile: true,
});

test('seven servers take three renewals, an intermediate and a root, and no client is refused', async () => {
  const { code, figures, stderr } = await runDrill(
    'provision',
    ...['--servers', 'nginx,haproxy,envoy,postgresql,redis,caddy,traefik'],
    ...['--renewals', '3', '--life', '60', '--pause', '50', '--json', '--short'],
  );
  assert.equal(code, 0, stderr);
  assert.equal(figures.failed, 0);
  assert.equal(figures.servers.length, 7);
  assert.ok(figures.certificates > 6 * 7, JSON.stringify(figures));
});
