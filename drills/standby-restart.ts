import { readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createTokens, type TestTokens } from '../test/support/softhsm.ts';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, type Drill, type DrillContext } from './drill.ts';
import { runNode } from './run-node.ts';
import type { ServerProcess } from './server-child.ts';
import { createWorld, type World } from './world.ts';
import { productEntry } from '../test/support/product.ts';

/** Which tokens are away while the server starts. */
const absences = ['none', 'standby', 'issuing', 'both'] as const;
type Absence = (typeof absences)[number];
const ends = ['stop', 'kill'] as const;

interface Authority {
  readonly kind: string;
  readonly state: string;
  readonly token: string;
}

/** One world with a standby token, and what the matrix does with it. */
class StandbyWorld {
  readonly #world: World;
  readonly #second: TestTokens;
  readonly #context: DrillContext;
  readonly breaches = new Breaches();
  server: ServerProcess;
  starts = 0;

  constructor(world: World, second: TestTokens, context: DrillContext) {
    this.#world = world;
    this.#second = second;
    this.#context = context;
    this.server = world.start();
  }

  admin(method: string, request: object = {}): Promise<Record<string, unknown>> {
    return this.#world.calls.admin(method, request);
  }

  async authorities(): Promise<readonly Authority[]> {
    return (await this.admin('Authorities/ListAuthorities'))['authorities'] as Authority[];
  }

  async has(wanted: Authority): Promise<boolean> {
    return (await this.authorities()).some(
      ({ kind, state, token }) =>
        kind === wanted.kind && state === wanted.state && token === wanted.token,
    );
  }

  async until(what: string, look: () => Promise<boolean>): Promise<void> {
    const endMs = performance.now() + patienceMs;
    while (!(await look().catch(() => false))) {
      if (performance.now() > endMs) throw new Error(`not within ${patienceMs / 1000} s: ${what}`);
      await sleep(100, undefined, { signal: this.#context.signal });
    }
  }

  async isReady(): Promise<boolean> {
    return (await this.admin('Server/GetStatus'))['ready'] === true;
  }

  /** How many checkpoints lie beside the database. */
  async checkpoints(): Promise<number> {
    const text = await readFile(join(this.#world.dataDir, 'checkpoints.log'), 'utf8');
    return text.split('\n').filter((line) => line !== '').length;
  }

  async move(absence: Absence, away: boolean): Promise<void> {
    const directories = [
      ...(absence === 'issuing' || absence === 'both' ? [this.#world.tokens.tokenDir] : []),
      ...(absence === 'standby' || absence === 'both' ? [this.#second.tokenDir] : []),
    ];
    for (const path of directories)
      await (away ? rename(path, `${path}.away`) : rename(`${path}.away`, path));
  }

  async end(how: (typeof ends)[number]): Promise<void> {
    await (how === 'stop' ? this.server.stop() : this.server.kill());
  }

  /** Returns how the start failed, or undefined. */
  async start(): Promise<string | undefined> {
    this.starts += 1;
    this.server = this.#world.start();
    return this.server.ready.then(
      () => undefined,
      (thrown: Error) => thrown.message,
    );
  }

  async cli(...args: readonly string[]): Promise<void> {
    const { code, stderr } = await runNode(
      [productEntry, ...args],
      patienceMs,
      this.#context.signal,
    );
    this.breaches.expect(code === 0, `meshca ${args.join(' ')} ended with ${code}: ${stderr}`);
  }

  /** The whole log verifies from outside. */
  async verify(): Promise<void> {
    const out = join(this.#world.dir, `audit-${this.starts}.jsonl`);
    await this.cli('--server-socket', this.#world.adminSocketPath, 'audit', 'export', '--out', out);
    await this.cli('audit', 'verify', out);
  }

  /**
   * One cell of the matrix: the server ends, tokens go away, the server starts, tokens come back.
   * `signing`: the token that signs leaves.
   */
  async restart(
    state: string,
    absence: Absence,
    how: (typeof ends)[number],
    signing: string,
  ): Promise<void> {
    const { breaches } = this;
    const cell = `${state}, ${how}, away: ${absence}`;
    const before = await this.checkpoints();
    await this.end(how);
    await this.move(absence, true);
    const failure = await this.start();
    if (absence === 'both') {
      breaches.expect(failure?.includes('HSM_') === true, `${cell}: ${failure ?? 'it started'}`);
      await this.move(absence, false);
      const second = await this.start();
      breaches.expect(second === undefined, `${cell}: then with both tokens: ${second}`);
    } else {
      breaches.expect(failure === undefined, `${cell}: ${failure}`);
      if (failure === undefined && absence === signing)
        breaches.expect(!(await this.isReady()), `${cell}: ready without the token that signs`);
      if (failure === undefined && absence !== signing)
        await this.until(`${cell}: ready`, () => this.isReady());
      await this.move(absence, false);
      if (failure !== undefined) await this.start();
    }
    await this.until(`${cell}: ready with both tokens`, () => this.isReady());
    breaches.expect((await this.checkpoints()) >= before, `${cell}: checkpoints are gone`);
  }

  /** `logToken`: where the key of the log is after each cell, if that is certain. */
  async matrix(state: string, signing: 'issuing' | 'standby', logToken?: string): Promise<void> {
    for (const how of this.#context.short ? (['kill'] as const) : ends)
      for (const absence of absences) {
        await this.restart(state, absence, how, signing);
        if (logToken === undefined) continue;
        await this.until(`${state}: the log's key is in the ${logToken} token`, () =>
          this.has({ kind: 'log', state: 'active', token: logToken }),
        );
      }
    await this.verify();
    this.#context.say(`${state}: ${this.starts} starts so far`);
  }

  /** All three keys stand by. */
  async standsBy(): Promise<void> {
    await this.until('an authority of each kind stands by, confirmed', async () => {
      const { notes } = await this.admin('Authorities/GetRotationStatus');
      const ready = (notes as { code: string }[]).filter(({ code }) => code === 'STANDBY_READY');
      return (
        ready.length === 2 &&
        ((await this.has({ kind: 'log', state: 'published', token: 'standby' })) ||
          (await this.has({ kind: 'log', state: 'old', token: 'standby' })))
      );
    });
  }

  /** The issuing token is lost, what stands by signs, and the token comes back. */
  async takeOver(): Promise<void> {
    await this.move('issuing', true);
    await this.until('the loss is noticed', async () => !(await this.isReady()));
    await this.activate();
    await this.move('issuing', false);
  }

  async activate(): Promise<void> {
    await this.cli(
      '--server-socket',
      this.#world.adminSocketPath,
      ...['authority', 'activate', '--standby', '--reason', 'drill', '--json'],
    );
    for (const kind of ['issuing', 'jwt', 'log'])
      await this.until(`the standby signs (${kind})`, () =>
        this.has({ kind, state: 'active', token: 'standby' }),
      );
    await this.until('ready with the standby', () => this.isReady());
  }

  /** Signing comes back to the issuing token. */
  async takeBack(): Promise<void> {
    for (const kind of ['issuing', 'jwt']) {
      await this.admin('Authorities/RotateAuthorities', { kind });
      await this.until(`${kind} comes back`, () =>
        this.has({ kind, state: 'active', token: 'issuing' }),
      );
    }
    await this.until("the log's key comes back", () =>
      this.has({ kind: 'log', state: 'active', token: 'issuing' }),
    );
  }
}

/** Restarts a server with a standby token in every state of it, with tokens present and away. */
export const standbyRestart: Drill = {
  name: 'standby-restart',
  promise: 'a server with a standby token starts again as long as one of its tokens is there',
  options: [],
  async run(context) {
    const { short, signal, say } = context;
    await using second = await createTokens({ labels: { issuing: 'meshca-standby' } });
    const { label, pinFile } = second.tokens.issuing;
    const standby = { softhsmConf: second.confPath, label, pinFile, signers: 1 };
    const sections = {
      rotation: { automatic: false, retireMarginSeconds: 2, jwksCacheSeconds: 1 },
    };
    const issuance = { bundleRefreshHintSeconds: 1 };
    await using world = await createWorld({
      signal,
      signers: 1,
      hsm: { standby },
      issuance,
      sections,
    });
    const drill = new StandbyWorld(world, second, context);
    await drill.server.ready;
    await drill.standsBy();
    await drill.matrix('configured', 'issuing', 'issuing');
    await drill.standsBy();
    await drill.takeOver();
    // a start without the standby token moves the log's key to the issuing token, where it stays
    await drill.matrix('used', 'standby');
    await drill.takeBack();
    await drill.standsBy();
    await drill.matrix('taken back', 'issuing', 'issuing');

    await drill.end('kill');
    await drill.move('issuing', true);
    const failure = await drill.start();
    if (failure !== undefined) throw new Error(`no start without the issuing token: ${failure}`);
    await drill.activate();
    say('after a start without the issuing token, one command has the standby sign');
    await drill.move('issuing', false);
    await drill.takeBack();
    await drill.verify();
    await drill.end('stop');
    return { figures: { starts: drill.starts, short }, broken: drill.breaches.list };
  },
};
