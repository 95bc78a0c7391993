import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { createTokens, type TestTokens } from '../../support/softhsm.ts';
import { nextTurn } from '../../support/until.ts';

const run = promisify(execFile);
const script = fileURLToPath(import.meta.resolve('#softhsm/init.mjs'));

interface Outcome {
  readonly tokens: Record<'issuing' | 'root', { readonly created: boolean }>;
}

async function init(dir: string): Promise<Outcome> {
  const { stdout } = await run(process.execPath, [script, '--dir', dir, '--json']);
  return JSON.parse(stdout) as Outcome;
}

async function initFails(dir: string): Promise<string> {
  const error = await run(process.execPath, [script, '--dir', dir, '--json']).then(
    () => assert.fail('it succeeded'),
    (reason: unknown) => reason as { stderr: string; code: number },
  );
  assert.equal(error.code, 1);
  return error.stderr;
}

/** What an independent tool sees. */
async function labels({ modulePath, environment }: TestTokens): Promise<readonly string[]> {
  const { stdout } = await run('pkcs11-tool', ['--module', modulePath, '--list-token-slots'], {
    env: { ...process.env, ...environment },
  });
  return [...stdout.matchAll(/token label\s*: (\S+)/g)].map(([, label]) => label as string).sort();
}

test('two tokens with PINs of their own, which another PKCS#11 tool finds by label and logs in to', async () => {
  await using made = await createTokens({ labels: { issuing: 'one', root: 'two' } });
  assert.deepEqual(await labels(made), ['one', 'two']);
  assert.notEqual(made.tokens.issuing.pin, made.tokens.root.pin);
  for (const { label, pin } of Object.values(made.tokens)) {
    assert.match(pin, /^[\w-]{32}$/);
    await run(
      'pkcs11-tool',
      [
        '--module',
        made.modulePath,
        '--token-label',
        label,
        '--login',
        '--pin',
        'env:PIN',
        '--list-objects',
      ],
      { env: { ...process.env, ...made.environment, PIN: pin } },
    );
  }
});

test('keys and PINs are readable by their owner only', async () => {
  await using made = await createTokens();
  for (const folder of ['', 'tokens', 'pins'])
    assert.equal((await stat(join(made.dir, folder))).mode & 0o777, 0o700);
  const pins = await readdir(join(made.dir, 'pins'));
  assert.deepEqual(pins.sort(), ['issuing.pin', 'issuing.so-pin', 'root.pin', 'root.so-pin']);
  for (const name of pins)
    assert.equal((await stat(join(made.dir, 'pins', name))).mode & 0o777, 0o600);
});

test('a second run changes nothing, and closes folders that were left open', async () => {
  await using made = await createTokens();
  await chmod(join(made.dir, 'pins'), 0o755);
  const again = await init(made.dir);
  assert.deepEqual([again.tokens.issuing.created, again.tokens.root.created], [false, false]);
  assert.equal(await readFile(made.tokens.issuing.pinFile, 'utf8'), made.tokens.issuing.pin);
  assert.deepEqual(await labels(made), ['meshca-issuing', 'meshca-root']);
  assert.equal((await stat(join(made.dir, 'pins'))).mode & 0o777, 0o700);
});

test('runs at the same time make one pair of tokens between them', async () => {
  await using made = await createTokens();
  await rm(join(made.dir, 'tokens'), { recursive: true });
  await rm(join(made.dir, 'pins'), { recursive: true });
  const outcomes = await Promise.all([1, 2, 3].map(() => init(made.dir)));
  assert.equal(outcomes.filter(({ tokens }) => tokens.root.created).length, 1);
  assert.deepEqual(await labels(made), ['meshca-issuing', 'meshca-root']);
});

test('a run that was killed at any moment is completed by the next', async () => {
  await using made = await createTokens();
  for (let attempt = 0; attempt < 12; attempt++) {
    await rm(join(made.dir, 'tokens'), { recursive: true });
    await rm(join(made.dir, 'pins'), { recursive: true });
    const before = entriesBelow(made.dir);
    const child = spawn(process.execPath, [script, '--dir', made.dir], {
      stdio: 'ignore',
      detached: true,
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    // one more entry in the folder at each attempt
    while (child.exitCode === null && entriesBelow(made.dir) < before + attempt) await nextTurn();
    // The whole group, since the work is done in a child of it.
    try {
      process.kill(-(child.pid as number), 'SIGKILL');
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ESRCH');
    }
    await ended;
    await init(made.dir);
    assert.deepEqual(await labels(made), ['meshca-issuing', 'meshca-root']);
  }
});

test('a half-written token of a killed run is made anew; foreign tokens and ones with objects stay', async () => {
  await using made = await createTokens();
  const store = join(made.dir, 'tokens');
  const marker = `${made.tokens.issuing.pinFile}.making`;
  const folders = await readdir(store);
  const isIssuing = async (folder: string): Promise<boolean> =>
    (await readFile(join(store, folder, 'token.object'))).includes('meshca-issuing');
  const issuing = (await isIssuing(folders[0] as string))
    ? (folders[0] as string)
    : (folders[1] as string);
  const others = folders.filter((folder) => folder !== issuing);
  // as SoftHSM leaves it in the middle of C_InitToken
  await truncate(join(store, issuing, 'token.object'), 64);
  assert.match(await initFails(made.dir), /damaged or half written/);
  await writeFile(marker, JSON.stringify(folders));
  assert.match(await initFails(made.dir), /damaged or half written/);
  await writeFile(marker, JSON.stringify(others));
  await writeFile(join(store, issuing, 'key.object'), 'a key');
  assert.match(await initFails(made.dir), /damaged or half written/);
  await rm(join(store, issuing, 'key.object'));
  const { tokens } = await init(made.dir);
  assert.deepEqual([tokens.issuing.created, tokens.root.created], [true, false]);
  assert.deepEqual(await labels(made), ['meshca-issuing', 'meshca-root']);
  assert.ok(!(await readdir(store)).includes(issuing));
  assert.ok(!existsSync(marker));
});

test('a token whose user PIN was never set gets it, without being initialised again', async () => {
  await using made = await createTokens();
  await rm(join(made.dir, 'tokens'), { recursive: true });
  await mkdir(join(made.dir, 'tokens'));
  const soPin = await readFile(join(made.dir, 'pins', 'issuing.so-pin'), 'utf8');
  await run(
    'pkcs11-tool',
    [
      '--module',
      made.modulePath,
      '--init-token',
      '--label',
      'meshca-issuing',
      '--so-pin',
      soPin,
      '--slot-index',
      '0',
    ],
    { env: { ...process.env, ...made.environment } },
  );
  const [token] = await readdir(join(made.dir, 'tokens'));
  assert.equal((await init(made.dir)).tokens.issuing.created, true);
  assert.ok((await readdir(join(made.dir, 'tokens'))).includes(token as string));
  assert.deepEqual(await labels(made), ['meshca-issuing', 'meshca-root']);
});

test('a PIN file that is lost or wrong stops it, and the token stays as it was', async () => {
  await using made = await createTokens();
  const { pin, pinFile } = made.tokens.root;
  await writeFile(pinFile, 'another PIN');
  assert.match(await initFails(made.dir), /does not accept the PIN/);
  await rm(pinFile);
  assert.match(await initFails(made.dir), /put the file back/);
  await writeFile(pinFile, pin);
  assert.equal((await init(made.dir)).tokens.root.created, false);
});

test('damaged tokens are not replaced by new ones with their labels', async () => {
  for (const count of [1, 2]) {
    await using made = await createTokens();
    for (const folder of (await readdir(made.tokenDir)).slice(0, count)) {
      const path = join(made.tokenDir, folder, 'token.object');
      await writeFile(path, (await readFile(path)).subarray(0, 8));
    }
    assert.match(await initFails(made.dir), /damaged or half written/);
    assert.equal((await readdir(made.tokenDir)).length, 2);
  }
});

test('the PIN is in no argument list and no environment', async () => {
  await using made = await createTokens();
  const pins = await Promise.all(
    (await readdir(join(made.dir, 'pins'))).map((name) =>
      readFile(join(made.dir, 'pins', name), 'utf8'),
    ),
  );
  // The work takes a tenth of a second: it is repeated until the process that does it was caught at
  // it.
  for (let seen = 0; seen < 3; ) {
    await rm(join(made.dir, 'tokens'), { recursive: true });
    const child = spawn(process.execPath, [script, '--dir', made.dir], { stdio: 'ignore' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    while (child.exitCode === null) {
      const family = [
        `${child.pid}`,
        ...look(`/proc/${child.pid}/task/${child.pid}/children`)
          .split(' ')
          .filter((pid) => pid !== ''),
      ];
      for (const text of family.flatMap((pid) => [
        look(`/proc/${pid}/cmdline`),
        look(`/proc/${pid}/environ`),
      ])) {
        for (const pin of pins) assert.ok(!text.includes(pin));
        if (text.includes('init-tokens.mjs')) seen++;
      }
      await nextTurn();
    }
    await ended;
  }
});

function entriesBelow(folder: string): number {
  try {
    return readdirSync(folder, { recursive: true }).length;
  } catch (thrown) {
    // an entry that went away while the folder was read
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return 0;
    throw thrown;
  }
}

function look(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
