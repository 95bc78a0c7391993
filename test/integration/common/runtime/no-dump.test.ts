import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

test('a process that asks for it leaves no core file and lets nobody of its user look into its memory', () => {
  const script = `
    import koffi from 'koffi';
    import { forbidDumps } from ${JSON.stringify(new URL(`../../../../src/common/runtime/no-dump.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url).href)};
    const prctl = koffi.load(null).func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)');
    console.log(JSON.stringify([prctl(3, 0, 0, 0, 0), forbidDumps('linux'), prctl(3, 0, 0, 0, 0), forbidDumps('darwin')]));
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    cwd: new URL('../../../..', import.meta.url),
  });
  assert.equal(stdout.trim(), '[1,true,0,false]', stderr);
});
