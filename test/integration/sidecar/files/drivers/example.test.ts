import assert from 'node:assert/strict';
import { copyFileSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import {
  codeOf,
  DriverSteps,
  Guide,
  startNginx,
  TargetDirectory,
} from '../../../../support/servers/index.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));
const example = join(root, 'examples', 'file-driver.sh');

test('the example of a driver of one’s own, in ten lines, serves a set and refuses a wrong pair', async () => {
  assert.equal(readFileSync(example, 'utf8').trimEnd().split('\n').length, 10);
  using target = new TargetDirectory();
  const first = target.write();
  target.swap(first);
  await using server = await startNginx(target);
  const program = join(target.path, 'driver');
  copyFileSync(example, program);
  const { program: nginx, configFile } = server.files as Readonly<
    Record<'program' | 'configFile', string>
  >;
  const settings = new Guide('A driver of your own').driver({
    '/usr/local/libexec/meshca-nginx': program,
    '/usr/sbin/nginx': nginx,
    '/etc/nginx/nginx.conf': configFile,
  });
  const steps = new DriverSteps(settings, target, first);
  const second = target.write();
  assert.equal(unwrap(await steps.deliver(second)).note, 'nginx was told to reload');
  await server.shows(second.serial);
  const wrong = target.write({ wrongKey: true });
  assert.equal(codeOf(await steps.deliver(wrong)), 'DRIVER_REFUSED');
  assert.ok((await steps.rollBack(wrong)).ok);
  await server.shows(second.serial);
});
