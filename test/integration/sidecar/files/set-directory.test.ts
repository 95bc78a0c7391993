import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { statfsSync, writeFileSync } from 'node:fs';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { unwrap, type PkiError } from '../../../../src/common/errors/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import { fileOperations, type FileOperations } from '../../../../sidecar/files/file-operations.ts';
import { TargetSets } from '../../../../sidecar/files/set-directory.ts';
import type { SetLayout, SetPermissions } from '../../../../sidecar/files/target.ts';
import {
  plainLayout,
  plainPermissions,
  setContent,
  setIssuer,
  steppedFiles,
} from '../../../support/certificate-sets.ts';
import { defer } from '../../../support/agent-fake-server.ts';

const isRoot = process.getuid?.() === 0;
const stranger = 23_456;
const issuer = setIssuer();

async function directoryOf(context: TestContext): Promise<string> {
  const parent = await realpath(await mkdtemp(join(tmpdir(), 'meshca-sets-')));
  defer(context, () => rm(parent, { recursive: true, force: true }));
  await chmod(parent, 0o755);
  const directory = join(parent, 'target');
  await mkdir(directory, { mode: 0o755 });
  return directory;
}

interface Over {
  readonly layout?: Partial<SetLayout>;
  readonly permissions?: Partial<SetPermissions>;
  readonly files?: FileOperations;
}

const setsIn = (directory: string, { layout, permissions, files }: Over = {}): TargetSets =>
  new TargetSets(
    {
      directory,
      layout: { ...plainLayout, ...layout },
      permissions: { ...plainPermissions, ...permissions },
    },
    { files: files ?? fileOperations, user: effectiveUser() },
  );

/** The names in `sets/`, and nothing where it is not there. */
const namesIn = (directory: string): Promise<readonly string[]> =>
  readdir(join(directory, 'sets')).catch(() => []);

/** What a server reads through `current`: the serial of a pair that fits. */
async function servedSerial(directory: string): Promise<string> {
  const [chain, key] = await Promise.all(
    ['fullchain.pem', 'key.pem'].map((name) => readFile(join(directory, 'current', name), 'utf8')),
  );
  const leaf = new X509Certificate(chain as string);
  assert.ok(leaf.publicKey.equals(createPublicKey(createPrivateKey(key as string))));
  return leaf.serialNumber.toLowerCase();
}

const refusal = (result: { readonly ok: boolean; readonly error?: PkiError }): PkiError => {
  assert.ok(!result.ok && result.error !== undefined, 'it is refused');
  assert.equal(result.error.code, 'TARGET_UNWRITABLE');
  return result.error;
};

describe('a set', () => {
  test('has each file of the layout, with its content and mode, and a manifest', async (context) => {
    const directory = await directoryOf(context);
    const content = setContent(issuer);
    const set = unwrap(await setsIn(directory).write(content));
    assert.equal(set.name, `1-${content.serial}`);
    const modes: Record<string, number> = {};
    for (const name of await readdir(set.directory))
      modes[name] = (await lstat(join(set.directory, name))).mode & 0o7777;
    assert.deepEqual(modes, {
      ...{ '.set.json': 0o644, 'ca.pem': 0o644, 'cert.pem': 0o644, 'chain.pem': 0o644 },
      ...{ 'combined.pem': 0o600, 'fullchain.pem': 0o644, 'key.pem': 0o600 },
    });
    assert.equal((await lstat(set.directory)).mode & 0o7777, 0o750);
    const text = (name: string): Promise<string> => readFile(join(set.directory, name), 'utf8');
    assert.equal(await text('fullchain.pem'), (await text('cert.pem')) + (await text('chain.pem')));
    assert.equal(
      await text('combined.pem'),
      (await text('key.pem')) + (await text('fullchain.pem')),
    );
    assert.ok(!/\n\s*\n/.test(await text('combined.pem')), 'no blank line');
    assert.deepEqual(await setsIn(directory).list(), [set]);
    assert.equal(await setsIn(directory).current(), undefined);
  });

  test('is served after one rename, and fixed paths lead into it', async (context) => {
    const directory = await directoryOf(context);
    const sets = setsIn(directory, { layout: { links: true } });
    const first = unwrap(await sets.write(setContent(issuer)));
    unwrap(await sets.swap(first));
    const second = unwrap(await sets.write(setContent(issuer)));
    assert.equal(await servedSerial(directory), first.serial, 'written, and not served yet');
    unwrap(await sets.swap(second));
    assert.equal(await servedSerial(directory), second.serial);
    assert.equal(await readlink(join(directory, 'current')), `sets/${second.name}`);
    assert.equal(await readlink(join(directory, 'key.pem')), 'current/key.pem');
    const bell = join(directory, '..data');
    assert.equal(await readlink(bell), 'current');
    const { ino } = await lstat(bell);
    assert.deepEqual(await sets.current(), second);
    unwrap(await sets.swap(first));
    assert.equal(await servedSerial(directory), first.serial, 'and back again');
    assert.notEqual((await lstat(bell)).ino, ino, 'who watches a volume of Kubernetes is told');
  });

  test('that is served is not removed, and another one goes as a whole', async (context) => {
    const directory = await directoryOf(context);
    const sets = setsIn(directory);
    const first = unwrap(await sets.write(setContent(issuer)));
    const second = unwrap(await sets.write(setContent(issuer)));
    unwrap(await sets.swap(second));
    assert.match(refusal(await sets.remove(second)).message, /is served/);
    unwrap(await sets.remove(first));
    assert.deepEqual(await namesIn(directory), [second.name]);
    unwrap(await sets.remove(first));
    unwrap(await sets.unlink());
    assert.equal(await sets.current(), undefined);
    assert.deepEqual(await sets.list(), [second]);
  });

  test('that lacks a file, or has a cut one, is no set and goes before the next is written', async (context) => {
    const directory = await directoryOf(context);
    const sets = setsIn(directory);
    const torn = unwrap(await sets.write(setContent(issuer)));
    await rm(join(torn.directory, 'key.pem'));
    const cut = unwrap(await sets.write(setContent(issuer)));
    assert.equal(cut.number, 2, 'the number of a torn set is not used again');
    await writeFile(join(cut.directory, 'fullchain.pem'), 'cut');
    assert.deepEqual(await sets.list(), []);
    assert.match(refusal(await sets.swap(cut)).message, /not there as a whole/);
    const whole = unwrap(await sets.write(setContent(issuer)));
    assert.deepEqual(await namesIn(directory), [whole.name]);
  });
});

describe('a set that is not served where others have a hand in the path:', () => {
  const cases: Readonly<Record<string, (directory: string) => Promise<RegExp>>> = {
    'a directory that everybody may write': async (directory) => {
      await chmod(directory, 0o777);
      return /others may write/;
    },
    'a directory that its group may write': async (directory) => {
      await chmod(directory, 0o775);
      return /others may write/;
    },
    'a sticky directory as the target': async (directory) => {
      await chmod(directory, 0o1777);
      return /others may write/;
    },
    'a parent that everybody may write': async (directory) => {
      await chmod(join(directory, '..'), 0o777);
      return /others may write/;
    },
    'sets as a symbolic link': async (directory) => {
      await mkdir(join(directory, '..', 'elsewhere'));
      await symlink('../elsewhere', join(directory, 'sets'));
      return /sets is a symbolic link/;
    },
    'a file of the name current': async (directory) => {
      await writeFile(join(directory, 'current'), '');
      return /current is there already/;
    },
    'a link of the name current that leads elsewhere': async (directory) => {
      await symlink('/etc', join(directory, 'current'));
      return /current is there already/;
    },
    'a file in the place of a fixed path': async (directory) => {
      await writeFile(join(directory, 'key.pem'), '');
      return /key.pem is there already/;
    },
    'a directory that is no directory': async (directory) => {
      await rm(directory, { recursive: true });
      await writeFile(directory, '');
      return /is no directory/;
    },
    'a directory that is gone': async (directory) => {
      await rm(directory, { recursive: true });
      return /a directory is gone/;
    },
  };
  const asRoot: typeof cases = {
    'a directory of a stranger': async (directory) => {
      await chown(directory, stranger, stranger);
      return /belongs to user 23456/;
    },
    'a parent of a stranger': async (directory) => {
      await chown(join(directory, '..'), stranger, stranger);
      return /belongs to user 23456/;
    },
    'a link of a stranger with the name and text of ours': async (directory) => {
      await symlink('sets/1-ab', join(directory, 'current'));
      execFileSync('chown', ['-h', String(stranger), join(directory, 'current')]);
      return /current is there already/;
    },
    'a symbolic link of a stranger on the way': async (directory) => {
      const way = join(directory, '..');
      await rename(directory, join(way, 'real'));
      await symlink('real', directory);
      execFileSync('chown', ['-h', String(stranger), directory]);
      return /belongs to user 23456/;
    },
  };
  for (const [name, prepare] of Object.entries(isRoot ? { ...cases, ...asRoot } : cases))
    test(name, async (context) => {
      const directory = await directoryOf(context);
      const reason = await prepare(directory);
      const sets = setsIn(directory, { layout: { links: true } });
      const error = refusal(await sets.write(setContent(issuer)));
      assert.match(error.message, reason);
      assert.ok(!error.message.startsWith(`${directory}: ${directory} `), error.message);
      assert.ok(error.next.length > 20, error.next);
      const left = await readdir(directory).catch(() => []);
      assert.ok(
        !left.some((each) => each.startsWith('sets') && name !== 'sets as a symbolic link'),
      );
    });

  test('a symbolic link of our own on the way is followed', async (context) => {
    const directory = await directoryOf(context);
    await rename(directory, `${directory}-real`);
    await symlink(`${directory}-real`, directory);
    const set = unwrap(await setsIn(directory).write(setContent(issuer)));
    assert.deepEqual(await namesIn(`${directory}-real`), [set.name]);
  });
});

test('a FIFO in the place of a manifest holds up nobody, and is no set', async (context) => {
  const directory = await directoryOf(context);
  await mkdir(join(directory, 'sets', '1-ab'), { recursive: true });
  execFileSync('mkfifo', [join(directory, 'sets', '1-ab', '.set.json')]);
  await symlink('sets/1-ab', join(directory, 'current'));
  assert.deepEqual(await setsIn(directory).list(), []);
  assert.equal(await setsIn(directory).current(), undefined);
});

test('what made a set unwritable is said, and the set is written once it is mended: TARGET_UNWRITABLE', async (context) => {
  const directory = await directoryOf(context);
  await chmod(directory, 0o777);
  const content = setContent(issuer);
  const result = await setsIn(directory).write(content);
  assert.ok(!result.ok && result.error.code === 'TARGET_UNWRITABLE');
  const command = /"(chmod go-w [^"]+)"/.exec(result.error.next)?.[1];
  assert.ok(command !== undefined, result.error.next);
  execFileSync('sh', ['-c', command]);
  unwrap(await setsIn(directory).swap(unwrap(await setsIn(directory).write(content))));
  assert.equal(await servedSerial(directory), content.serial);
});

const owned = { uid: stranger, gid: stranger + 1, keyMode: 0o640 };

test('owner and group are on each file before it has content', async (context) => {
  const directory = await directoryOf(context);
  if (!isRoot) {
    const sets = setsIn(directory, { permissions: owned });
    assert.match(refusal(await sets.write(setContent(issuer))).message, /may not give files/);
    return;
  }
  const looked: string[] = [];
  const files = steppedFiles(async (_, step) => {
    if (step !== 'write') return;
    const [place] = await namesIn(directory);
    const found = await lstat(join(directory, 'sets', place as string, 'key.pem'));
    looked.push(`${found.uid} ${found.gid} ${(found.mode & 0o777).toString(8)} `);
  });
  const sets = setsIn(directory, { permissions: owned, files });
  const set = unwrap(await sets.write(setContent(issuer)));
  assert.deepEqual(new Set(looked), new Set(['23456 23457 640 ']));
  const { uid, gid } = await lstat(set.directory);
  assert.deepEqual([uid, gid], [0, stranger + 1], 'nobody but the agent renames in it');
});

test('an agent that may not give files away says so before anything is written', async (context) => {
  const directory = await directoryOf(context);
  const steps: string[] = [];
  const files = steppedFiles((_, name) => void steps.push(name));
  if (isRoot) {
    await chown(directory, stranger, stranger);
    process.seteuid?.(stranger);
    context.after(() => process.seteuid?.(0));
  }
  const sets = setsIn(directory, { files, permissions: { uid: isRoot ? stranger + 5 : 0 } });
  const error = refusal(await sets.write(setContent(issuer)));
  if (isRoot) process.seteuid?.(0);
  assert.match(error.message, /may not give files to user/);
  assert.match(error.next, /CAP_CHOWN/);
  assert.ok(!steps.includes('write'), steps.join());
  assert.deepEqual(await namesIn(directory), []);
});

describe('a failure of the disk', () => {
  /** The steps of a write, to fail each of them in turn. */
  async function stepsOf(context: TestContext): Promise<readonly string[]> {
    const steps: string[] = [];
    const directory = await directoryOf(context);
    const files = steppedFiles((_, name) => void steps.push(name));
    unwrap(await setsIn(directory, { files }).write(setContent(issuer)));
    return steps;
  }

  test('at any step of a write leaves nothing of the set, and what is served', async (context) => {
    const steps = await stepsOf(context);
    assert.ok(steps.length > 30, steps.join());
    for (const code of ['ENOSPC', 'EIO']) {
      const directory = await directoryOf(context);
      const before = unwrap(await setsIn(directory).write(setContent(issuer)));
      unwrap(await setsIn(directory).swap(before));
      for (const failing of steps.keys()) {
        const files = steppedFiles((step, name) => {
          if (step === failing + 1 && name !== 'chmod')
            throw Object.assign(new Error(`${code}: at ${name}`), { code });
        });
        const result = await setsIn(directory, { files }).write(setContent(issuer));
        const names = await namesIn(directory);
        if (result.ok) unwrap(await setsIn(directory).remove(result.value));
        else {
          assert.match(refusal(result).message, /the disk (is full|reports an error)/);
          assert.deepEqual(names, [before.name], `${code} at step ${failing + 1}`);
        }
        assert.equal(await servedSerial(directory), before.serial);
      }
    }
  });

  test('is none of a swap: current names the set before or the new one', async (context) => {
    const directory = await directoryOf(context);
    const sets = setsIn(directory, { layout: { links: true } });
    const [before, next] = [
      unwrap(await sets.write(setContent(issuer))),
      unwrap(await sets.write(setContent(issuer))),
    ];
    unwrap(await sets.swap(before));
    for (let failing = 1; ; failing += 1) {
      let ended = true;
      const files = steppedFiles((step) => {
        if (step !== failing) return;
        ended = false;
        throw Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC' });
      });
      const result = await setsIn(directory, { layout: { links: true }, files }).swap(next);
      assert.ok([before.serial, next.serial].includes(await servedSerial(directory)));
      if (ended) {
        unwrap(result);
        break;
      }
    }
    assert.equal(await servedSerial(directory), next.serial);
  });

  const mounted = (directory: string, context: TestContext): void => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k,mode=755', 'tmpfs', directory]);
    defer(context, () => {
      spawnSync('umount', ['-l', directory]);
      spawnSync('umount', ['-l', directory]);
    });
  };
  const faults: Readonly<Record<string, (directory: string) => (() => Promise<void>) | undefined>> =
    {
      full: (directory) => {
        const { bavail, bsize } = statfsSync(directory);
        writeFileSync(join(directory, 'ballast'), Buffer.alloc((bavail - 3) * bsize, 1));
        return () => rm(join(directory, 'ballast'));
      },
      'read-only': (directory) => {
        execFileSync('mount', ['--bind', directory, directory]);
        execFileSync('mount', ['-o', 'remount,bind,ro', directory]);
        return async () => void execFileSync('umount', ['-l', directory]);
      },
    };
  for (const [name, begin] of Object.entries(isRoot ? faults : {}))
    test(`that is ${name} is said with its reason, and the next set is written when it is over`, async (context) => {
      const directory = await directoryOf(context);
      mounted(directory, context);
      const sets = setsIn(directory);
      const before = unwrap(await sets.write(setContent(issuer)));
      unwrap(await sets.swap(before));
      const end = begin(directory);
      const error = refusal(await sets.write(setContent(issuer)));
      assert.ok(error.message.includes(name), error.message);
      assert.deepEqual(await namesIn(directory), [before.name]);
      assert.equal(await servedSerial(directory), before.serial);
      await end?.();
      unwrap(await sets.swap(unwrap(await sets.write(setContent(issuer)))));
    });
});

test('a disk that can not be read is said, and a directory that is gone has no sets', async (context) => {
  const directory = await directoryOf(context);
  unwrap(await setsIn(directory).write(setContent(issuer)));
  const broken = (): Promise<never> =>
    Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }));
  const files: FileOperations = { ...fileOperations, readdir: broken, readlink: broken };
  const failing = setsIn(directory, { files });
  const said = { code: 'TARGET_UNWRITABLE', message: /the disk reports an error/ };
  await assert.rejects(failing.list(), said);
  await assert.rejects(failing.current(), said);
  await rm(directory, { recursive: true });
  assert.deepEqual(await setsIn(directory).list(), []);
  assert.equal(await setsIn(directory).current(), undefined);
});

class Crash extends Error {
  readonly code = 'ECRASH';
}

describe('after a crash at any step', () => {
  test('current is at one whole set, and the next set is written', async (context) => {
    const directory = await directoryOf(context);
    const layout = { links: true };
    const healthy = setsIn(directory, { layout });
    unwrap(await healthy.swap(unwrap(await healthy.write(setContent(issuer)))));
    let crashes = 0;
    for (let at = 1; ; at += 1) {
      let crashed = false;
      // nothing is done after the step, as when a process is killed
      const files = steppedFiles(async (step) => {
        await servedSerial(directory);
        crashed ||= step === at;
        if (crashed) throw new Crash();
      });
      const dying = setsIn(directory, { layout, files });
      const written = await dying.write(setContent(issuer));
      if (written.ok) {
        const before = await dying.current();
        await dying.swap(written.value);
        if (before !== undefined && !crashed) await dying.remove(before);
      }
      const served = await servedSerial(directory);
      const restarted = setsIn(directory, { layout });
      assert.equal((await restarted.current())?.serial, served, `crash at step ${at}`);
      for (const set of await restarted.list())
        assert.ok((await namesIn(directory)).includes(set.name));
      const next = unwrap(await restarted.write(setContent(issuer)));
      unwrap(await restarted.swap(next));
      for (const set of await restarted.list())
        if (set.name !== next.name) unwrap(await restarted.remove(set));
      assert.deepEqual(await namesIn(directory), [next.name], `remains of step ${at}`);
      if (!crashed) break;
      crashes += 1;
    }
    assert.ok(crashes > 40, `${crashes} steps`);
  });

  test('all that a rename makes visible is synced before it', async (context) => {
    const directory = await directoryOf(context);
    const steps: string[] = [];
    const files = steppedFiles((_, name) => void steps.push(name));
    const sets = setsIn(directory, { files });
    const set = unwrap(await sets.write(setContent(issuer)));
    const rename = steps.indexOf('rename');
    const count = (name: string): number =>
      steps.slice(0, rename).filter((step) => step === name).length;
    // each file, the directory of the target, and that of the set
    assert.equal(count('sync'), count('write') + 2);
    assert.equal(steps[rename - 1], 'sync');
    assert.deepEqual(steps.slice(rename), ['rename', 'sync']);
    steps.length = 0;
    unwrap(await sets.swap(set));
    assert.deepEqual(steps.slice(-3), ['symlink', 'rename', 'sync']);
  });
});
