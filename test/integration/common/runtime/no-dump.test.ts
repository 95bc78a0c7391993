import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';

test('a process that asks for it leaves no core file and lets nobody of its user look into its memory', () => {
  const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
  const path = `../../../../src/common/runtime/no-dump.${ending}`;
  const script = `
    import koffi from 'koffi';
    import { forbidDumps } from ${JSON.stringify(new URL(path, import.meta.url).href)};
    const prctl = koffi.load(null).func(
      'int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
    const dumpable = () => prctl(3, 0, 0, 0, 0);
    const told = [dumpable(), forbidDumps('linux'), dumpable(), forbidDumps('darwin')];
    console.log(JSON.stringify(told));
  `;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    cwd: new URL('../../../..', import.meta.url),
  });
  assert.equal(stdout.trim(), '[1,true,0,false]', stderr);
});
