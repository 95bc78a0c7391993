import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import type { Command } from 'commander';
import { describe, test } from 'node:test';
import { completionScript } from '../../../src/cli/completion.ts';
import { examples, groups } from '../../../src/cli/help.ts';
import { optionValues, valuedOptions } from '../../../src/cli/option-values.ts';
import { buildProgram, runCli } from '../../../src/cli/program.ts';
import {
  authorityStates,
  certificateKinds,
  certificateStates,
  delegationProfiles,
  entryProfiles,
} from '../../../src/domain/index.ts';
import { testContext } from '../../support/command.ts';

const program = buildProgram(testContext().context, { exitCode: 0 });

const find = (words: readonly string[]): Command | undefined => {
  let at: Command | undefined = program;
  for (const word of words) at = at?.commands.find((each) => each.name() === word);
  return at;
};

async function helpOf(...words: string[]): Promise<string> {
  const { context, seen } = testContext();
  await runCli([...words, '--help'], context);
  return seen.out;
}

describe('the help', () => {
  test('groups every command, and names no other', () => {
    const grouped = Object.values(groups).flat();
    assert.deepEqual(
      [...program.commands.map((each) => each.name()), 'help'].toSorted(),
      grouped.toSorted(),
    );
  });

  test('marks what is required, in the options and in the usage', async () => {
    const text = await helpOf('mint');
    assert.match(text, /Usage: meshca mint --write <dir> \[options\]/);
    assert.match(text, /--write <dir>[^]*?\(required\)/);
    assert.doesNotMatch(text, /--admin [^\n]*required/);
  });

  test('has examples whose commands and options exist', async () => {
    for (const [path, lines] of Object.entries(examples))
      for (const line of lines) {
        const words = path.split(' ').slice(1);
        const command = find(words);
        assert.ok(command, path);
        assert.ok(line.startsWith(path), line);
        for (const [flag] of line.matchAll(/(?<= )--[a-z-]+/g))
          assert.ok(
            // options of the program, such as --server, fit each command
            [...command.options, ...program.options].some(({ long }) => long === flag),
            `${path} ${flag}`,
          );
      }
    assert.match(await helpOf('audit', 'list'), /Examples:\n {2}meshca audit list --acts/);
  });
});

describe('completion', () => {
  test('knows only options that there are', () => {
    for (const each of valuedOptions) {
      const [flag, ...path] = each.split(' ').reverse() as [string, ...string[]];
      if (path.length === 0) continue;
      const command = find(path.toReversed().slice(1));
      assert.ok(
        command?.options.some(({ long }) => long === flag),
        each,
      );
    }
  });

  test('offers every kind and state that the server knows, and the help names them', async () => {
    for (const [path, flag, known] of [
      ['certificate list', '--kind', certificateKinds],
      ['certificate list', '--state', certificateStates],
      ['authority list', '--state', authorityStates],
      ['delegation create', '--profile', delegationProfiles],
      ['entry create', '--profile', entryProfiles],
    ] as const) {
      const command = find(path.split(' '));
      assert.ok(command, path);
      const option = command.options.find(({ long }) => long === flag);
      const offered =
        optionValues(command, `meshca ${path}`).find(([of]) => of === flag)?.[1] ?? [];
      assert.deepEqual(offered.toSorted(), known.toSorted(), `${path} ${flag}`);
      for (const value of known) assert.ok(option?.description.includes(value), `${path} ${value}`);
    }
  });

  test('offers commands, options and values in bash', () => {
    const offered = (...words: string[]): string[] => {
      const script = `${completionScript(program, 'bash')}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')}); COMP_CWORD=${words.length - 1}; _meshca; echo "\${COMPREPLY[@]}"`;
      const { stdout, stderr, status } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
      return stdout.trim().split(' ');
    };
    assert.deepEqual(offered('meshca', 'audit', 'ver'), ['verify']);
    assert.deepEqual(offered('meshca', 'agent', 'list', '--state', 'ba'), ['banned']);
    assert.ok(offered('meshca', 'audit', 'list', '--kind', 'entry.').includes('entry.created'));
    assert.deepEqual(offered('meshca', 'healthcheck', 'se'), ['server']);
    assert.ok(offered('meshca', 'entry', 'list', '--lim').includes('--limit'));
  });
});
