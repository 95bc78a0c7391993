import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';

import { PkiError, type ErrorCode } from '../../../src/common/errors/index.ts';
import {
  createSigners,
  LoginTurns,
  openTokenAdmin,
  standingText,
  type KeyHandle,
  type ManagedSigners,
  type TokenConfig,
} from '../../../src/hsm/index.ts';
import {
  adminOptions,
  childrenOf,
  hsmFixture,
  isAlive,
  isStopped,
  signersDefaults,
  type HsmFixture,
} from '../../support/hsm.ts';
import { changePin } from '../../support/change-pin.ts';
import { LeapClock } from '../../support/local-server-fakes.ts';
import { nextTurn, until } from '../../support/until.ts';

const withCode = (code: ErrorCode, pattern?: RegExp) => (thrown: unknown) => {
  assert.ok(thrown instanceof PkiError, String(thrown));
  assert.equal(thrown.code, code, thrown.message);
  if (pattern !== undefined) assert.match(thrown.message, pattern);
  return true;
};

/** The index of a folder of the product, as a literal for a script. */
const hrefOf = (folder: string): string =>
  JSON.stringify(new URL(`../../../src/${folder}/index.${extension}`, import.meta.url).href);

describe('the start of the signers', () => {
  let fixture: HsmFixture;
  let key: KeyHandle;
  before(async () => {
    fixture = await hsmFixture();
    key = await fixture.makeKey('ec-p256');
  });
  after(() => fixture[Symbol.asyncDispose]());

  async function failsWith(
    token: Partial<TokenConfig>,
    code: ErrorCode,
    pattern?: RegExp,
  ): Promise<void> {
    await assert.rejects(
      createSigners({ ...signersDefaults, token: { ...fixture.token, ...token } }),
      withCode(code, pattern),
    );
    await assert.rejects(
      openTokenAdmin({ ...fixture.token, ...token }, adminOptions),
      withCode(code, pattern),
    );
    assert.deepEqual(childrenOf(process.pid), [], 'no process is left behind');
  }

  it('names a module that is missing, is not absolute, or is no PKCS#11 module', async () => {
    await failsWith(
      { modulePath: '/nowhere/libpkcs11.so' },
      'HSM_MODULE_MISSING',
      /\/nowhere\/libpkcs11\.so/,
    );
    await failsWith({ modulePath: 'libpkcs11.so' }, 'HSM_MODULE_MISSING', /absolute/);
    const text = join(fixture.tokens.dir, 'not-a-module.so');
    await writeFile(text, 'text');
    await failsWith({ modulePath: text }, 'HSM_MODULE_MISSING');
  });

  it('lists the labels that it found when the token is not there', async () => {
    await failsWith(
      { tokenLabel: 'elsewhere' },
      'HSM_TOKEN_NOT_FOUND',
      /"meshca-issuing", "meshca-root"|"meshca-root", "meshca-issuing"/,
    );
  });

  it('reports a module that can not initialise with the operation and the CKR name', async () => {
    await failsWith(
      { environment: { SOFTHSM2_CONF: '/nowhere/softhsm2.conf' } },
      'HSM_UNAVAILABLE',
      /C_Initialize of \S+: CKR_GENERAL_ERROR/,
    );
    await assert.rejects(
      openTokenAdmin(
        { ...fixture.token, environment: { SOFTHSM2_CONF: '/nowhere/softhsm2.conf' } },
        adminOptions,
      ),
      (error) => error instanceof PkiError && error.next.includes('softhsmConf'),
    );
  });

  it('tries a wrong PIN once, in one process, and gives up', async () => {
    const forked = new Set<number>();
    let watching = true;
    const watch = (async () => {
      while (watching) {
        for (const pid of childrenOf(process.pid)) forked.add(pid);
        await nextTurn();
      }
    })();
    try {
      await assert.rejects(
        createSigners({
          ...signersDefaults,
          processes: 4,
          token: { ...fixture.token, pin: 'wrong-pin' },
        }),
        withCode('HSM_PIN_WRONG', /C_Login to the token "meshca-issuing": CKR_PIN_INCORRECT/),
      );
    } finally {
      watching = false;
      await watch;
    }
    assert.equal(forked.size, 1);
    assert.deepEqual(childrenOf(process.pid), []);
    await failsWith({ pin: '' }, 'HSM_PIN_WRONG');
  });

  it('starts once module, label and PIN are corrected as the advice says', async () => {
    const mistakes: readonly (readonly [ErrorCode, Partial<TokenConfig>])[] = [
      ['HSM_MODULE_MISSING', { modulePath: '/nowhere/libpkcs11.so' }],
      ['HSM_TOKEN_NOT_FOUND', { tokenLabel: 'elsewhere' }],
      ['HSM_PIN_WRONG', { pin: 'wrong-pin' }],
    ];
    for (const [code, mistake] of mistakes) {
      await failsWith(mistake, code);
      const signers = await fixture.signers({ processes: 1 });
      await signers.useKey(key);
      const [outcome] = await signers.sign([
        { ckaId: key.ckaId, bytes: Buffer.from('x'), format: 'x509' },
      ]);
      assert.equal(outcome?.ok, true, code);
      await signers.close();
    }
  });

  it('stops for good when the PIN was changed under it: one attempt, then fatal', async () => {
    const other = fixture.tokens.tokens.root;
    const token = { ...fixture.token, tokenLabel: other.label, pin: other.pin };
    const clock = new LeapClock();
    const signers = await fixture.signers({ token, processes: 2, clock });
    const seen: string[] = [];
    signers.onChange(({ status }) => seen.push(status));
    changePin(fixture.tokens, other.label, other.pin, 'another-pin');
    for (const pid of signers.pids()) process.kill(pid, 'SIGKILL');
    await until(() => signers.state().status === 'fatal', 'fatal');
    const { respawns, reason } = signers.state();
    assert.equal(respawns, 1);
    assert.match(reason ?? '', /HSM_PIN_WRONG/);
    assert.equal(seen.at(-1), 'fatal');
    clock.leap(3_600_000);
    await clock.caughtUp();
    await until(() => childrenOf(process.pid).length === 0, 'the processes end');
    assert.equal(signers.state().respawns, 1);
    const [outcome] = await signers.sign([
      { ckaId: key.ckaId, bytes: Buffer.from('x'), format: 'x509' },
    ]);
    assert.ok(outcome?.ok === false && outcome.code === 'HSM_PIN_WRONG');
    await assert.rejects(signers.useKey(key), withCode('HSM_PIN_WRONG'));
    await signers.close();
  });

  describe('a new PIN', () => {
    /** Counts the logins that were let through to the token. */
    class CountedTurns extends LoginTurns {
      logins = 0;
      asked = 0;
      override take<Result>(
        token: Omit<TokenConfig, 'pin'>,
        pinNow: () => string,
        work: (pin: string) => Promise<Result>,
      ): Promise<Result> {
        this.asked += 1;
        return super.take(token, pinNow, (pin) => {
          this.logins += 1;
          return work(pin);
        });
      }
    }
    let own: HsmFixture;
    let ownKey: KeyHandle;
    before(async () => {
      own = await hsmFixture();
      ownKey = await own.makeKey('ec-p256');
    });
    after(() => own[Symbol.asyncDispose]());

    const signsWell = async (signers: ManagedSigners): Promise<void> => {
      const [outcome] = await signers.sign([
        { ckaId: ownKey.ckaId, bytes: Buffer.from('x'), format: 'x509' },
      ]);
      assert.equal(outcome?.ok, true);
    };

    it('that is wrong is tried once, by one signer, and the old sessions go on', async () => {
      const logins = new CountedTurns();
      const signers = await own.signers({ logins });
      await signers.useKey(ownKey);
      const pids = signers.pids();
      assert.equal(logins.logins, 2);
      assert.equal(await signers.changePin(own.token.pin), false);
      for (let round = 0; round < 3; round++) {
        await assert.rejects(signers.changePin('wrong-pin'), withCode('HSM_PIN_WRONG'));
        assert.equal(logins.logins, 3);
      }
      // whoever brings it
      await assert.rejects(
        openTokenAdmin({ ...own.token, pin: 'wrong-pin' }, { ...adminOptions, logins }),
        withCode('HSM_PIN_WRONG', /refused before/),
      );
      assert.equal(logins.logins, 3);
      assert.deepEqual(signers.pids(), pids);
      assert.equal(signers.state().status, 'ready');
      await signsWell(signers);
      await signers.close();
    });

    it('counts for every later signer, and a refused one stops no signer that is logged in', async () => {
      const { label, pin } = own.tokens.tokens.issuing;
      const logins = new CountedTurns();
      const signers = await own.signers({ logins });
      await signers.useKey(ownKey);
      const [first, second] = signers.pids();
      changePin(own.tokens, label, pin, 'second-pin');
      process.kill(first as number, 'SIGKILL');
      await until(() => signers.state().reason?.includes('HSM_PIN_WRONG') === true, 'refused');
      assert.equal(logins.logins, 3);
      assert.deepEqual(signers.pids(), [second]);
      await signsWell(signers);
      assert.equal(await signers.changePin('second-pin'), true);
      await until(() => signers.state().status === 'ready', 'the missing signer is back');
      process.kill(second as number, 'SIGKILL');
      await until(() => !signers.pids().includes(second as number), 'it is gone');
      await until(() => signers.state().status === 'ready', 'another one has logged in');
      await signsWell(signers);
      await signers.close();
      changePin(own.tokens, label, 'second-pin', pin);
    });

    it('makes a token sign again whose signers are all gone, as its standing advises', async () => {
      const { label, pin } = own.tokens.tokens.issuing;
      const signers = await own.signers({ logins: new CountedTurns() });
      await signers.useKey(ownKey);
      changePin(own.tokens, label, pin, 'advised-pin');
      for (const pid of signers.pids()) process.kill(pid, 'SIGKILL');
      await until(() => signers.state().status === 'fatal', 'no signer is left');
      const standing = standingText(signers.state(), 'issuing') ?? '';
      assert.match(standing, /Put the right PIN in its place and send SIGHUP to the server/);
      assert.equal(await signers.changePin('advised-pin'), true);
      await until(() => signers.state().status === 'ready', 'all signers are back');
      assert.equal(standingText(signers.state(), 'issuing'), undefined);
      await signsWell(signers);
      await signers.close();
      changePin(own.tokens, label, 'advised-pin', pin);
    });

    it('counts for a signer that waited for its login meanwhile: the old one is not tried', async () => {
      const { label, pin } = own.tokens.tokens.issuing;
      const logins = new CountedTurns();
      const signers = await own.signers({ logins });
      const held = Promise.withResolvers<void>();
      const holding = logins.take(
        own.token,
        () => pin,
        () => held.promise,
      );
      const seen: (string | undefined)[] = [];
      signers.onChange(({ reason }) => seen.push(reason));
      changePin(own.tokens, label, pin, 'third-pin');
      const changing = signers.changePin('third-pin');
      process.kill(signers.pids()[0] as number, 'SIGKILL');
      await until(() => logins.asked === 5, 'the signer in its place waits for its login');
      held.resolve();
      await holding;
      assert.equal(await changing, true);
      await until(() => signers.state().status === 'ready', 'the missing signer is back');
      assert.equal(logins.logins, 5, 'each login was tried once');
      assert.ok(!seen.some((reason) => reason?.includes('PIN')), seen.join());
      await signers.close();
      changePin(own.tokens, label, 'third-pin', pin);
    });

    it('that was refused to somebody else is not tried, and leaves no process behind', async () => {
      const { label, pin } = own.tokens.tokens.issuing;
      const logins = new CountedTurns();
      const signers = await own.signers({ logins });
      changePin(own.tokens, label, pin, 'fourth-pin');
      await assert.rejects(
        openTokenAdmin(own.token, { ...adminOptions, logins }),
        withCode('HSM_PIN_WRONG'),
      );
      const tried = logins.logins;
      const [first, second] = signers.pids();
      process.kill(first as number, 'SIGKILL');
      await until(() => signers.state().reason?.includes('HSM_PIN_WRONG') === true, 'refused');
      await until(() => childrenOf(process.pid).length === 1, 'the signer that waited is gone');
      assert.deepEqual([logins.logins, signers.pids()], [tried, [second]]);
      await signers.close();
      changePin(own.tokens, label, 'fourth-pin', pin);
    });
  });

  it('shows the PIN in no arguments and no environment, of server or children', async () => {
    process.env['HSM_TEST_SECRET'] = 'do-not-inherit';
    const signers = await fixture.signers();
    await using admin = await openTokenAdmin(fixture.token, adminOptions);
    await admin.listKeys();
    delete process.env['HSM_TEST_SECRET'];
    const pids = childrenOf(process.pid);
    assert.equal(pids.length, 3);
    for (const pid of pids) {
      for (const file of ['cmdline', 'environ']) {
        const text = readProcess(pid, file);
        assert.ok(!text.includes(fixture.token.pin), `${file} of a child`);
        assert.ok(!text.includes('do-not-inherit'), `${file} of a child`);
      }
    }
    await signers.close();
  });

  it(
    'leaves no signer behind when the parent is killed, and ignores signals that are meant ' +
      'for the parent',
    async () => {
      const script = `
      const { createSigners } = await import(${hrefOf('hsm')});
      const { systemClock, systemRandom, silentLogger } = await import(${hrefOf('common/runtime')});
      process.once('message', async (token) => {
        const { execPath } = process;
        const signers = await createSigners({
          ...{ token, processes: 2, mode: 'async', sessionsPerProcess: 2, execPath },
          ...{ clock: systemClock, random: systemRandom, logger: silentLogger },
        });
        process.send(signers.pids());
      });`;
      const parent = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      });
      const pids = await new Promise<number[]>((resolve) => {
        parent.once('message', (message) => resolve(message as number[]));
        parent.send(fixture.token);
      });
      assert.equal(pids.length, 2);
      for (const pid of pids)
        for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(pid, signal);
      // a later signal has its effect, which it has on a living process alone
      for (const pid of pids) process.kill(pid, 'SIGSTOP');
      await until(() => pids.every(isStopped), 'both signers are stopped');
      process.kill(pids[1] as number, 'SIGCONT');
      // The other can not notice the end of its channel, as one that hangs in its module can not.
      parent.kill('SIGKILL');
      await until(() => !pids.some(isAlive), 'the signers end with their parent');
    },
  );
});

/**
 * What another process can see of it. Signers are not dumpable, so that only root sees their
 * environment at all.
 */
function readProcess(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1');
  } catch (thrown) {
    assert.equal((thrown as NodeJS.ErrnoException).code, 'EACCES');
    return '';
  }
}

const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
