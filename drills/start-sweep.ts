import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir, uptime } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { unwrap } from '../src/common/errors/index.ts';
import { systemClock, type Clock } from '../src/common/runtime/index.ts';
import { parseCertificate } from '../src/common/x509/index.ts';
import { codeOf, startTestServer, type TestServer } from '../test/support/server.ts';
import { createTokens, type TestTokens } from '../test/support/softhsm.ts';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, round, type Drill, type DrillContext } from './drill.ts';
import { Share, shareOptions } from './share.ts';

const day = 86_400;
const lives = { root: { lifeDays: 30 }, issuing: { lifeDays: 10 }, jwt: { lifeDays: 7 } };

/** Whose end lies near the instant of the start. The standby ends with the issuing authority. */
const endings = ['root', 'issuing', 'standby', 'jwt', 'log'] as const;
type Ending = (typeof endings)[number];
/** `unproven`: after a start of the machine. `behind`: before the newest record of the log. */
const clocks = ['right', 'unproven', 'behind'] as const;

interface Cell {
  readonly ending: Ending;
  /** Seconds from the end to the start. */
  readonly instant: number;
  readonly clock: (typeof clocks)[number];
  readonly issuingTokenAway: boolean;
  readonly automatic: boolean;
}

/** An authority as the server lists it. */
interface Authority {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly token: string;
  readonly notAfter: number;
}

/** A stopped server whose authorities were just made, from which every start begins. */
interface Origin {
  readonly dir: string;
  readonly tokens: TestTokens;
  readonly standby: TestTokens;
  readonly authorities: readonly Authority[];
  readonly wallMs: number;
  readonly uptimeMs: number;
}

/** Cells of the matrix. A behind clock needs no sweep: it is before everything that ended. */
function* cells(short: boolean): Generator<Cell> {
  const instants = short ? [-1, 0] : [-day - 1, -3_601, -61, -1, 0, 1, 61, 3_601, day];
  for (const ending of endings)
    for (const instant of instants)
      for (const clock of clocks)
        for (const issuingTokenAway of [false, true])
          for (const automatic of [true, false]) {
            const cell = { ending, instant, clock, issuingTokenAway, automatic };
            if (clock === 'behind' && instant !== 0) continue;
            if (!short || isShort(cell)) yield cell;
          }
}

/** Each ending once before and once after, and each of the other settings once after the end. */
const isShort = ({ ending, instant, clock, issuingTokenAway, automatic }: Cell): boolean => {
  const usual = clock === 'right' && !issuingTokenAway;
  if (ending === 'issuing') return instant === 0 || (usual && automatic);
  if (ending === 'standby') return clock === 'right' && issuingTokenAway && automatic;
  return usual && automatic && (instant === 0 || ending === 'root');
};

const textOf = ({ ending, instant, clock, issuingTokenAway, automatic }: Cell): string =>
  `${instant} s after the end of ${ending}, clock ${clock}, ` +
  `${issuingTokenAway ? 'issuing token away' : 'all tokens'}, ` +
  `${automatic ? 'with' : 'without'} schedule`;

/** Wall clock and time since boot stand still, so that a start can not cross an end. */
function stopped(wallMs: number): Clock {
  return { ...systemClock, nowMs: () => wallMs, now: () => Math.floor(wallMs / 1000) };
}

const configOf = (standby: TestTokens, automatic: boolean): object => ({
  authorities: lives,
  // what stands by is confirmed at once
  rotation: { automatic, jwksCacheSeconds: 1 },
  issuance: { bundleRefreshHintSeconds: 1 },
  hsm: {
    standby: {
      softhsmConf: standby.confPath,
      label: standby.tokens.issuing.label,
      pinFile: standby.tokens.issuing.pinFile,
      signers: 1,
    },
  },
});

const listed = async (server: TestServer): Promise<readonly Authority[]> =>
  (await server.admin('Authorities/ListAuthorities')).authorities as readonly Authority[];

/** Whether it holds before patience ends. */
async function eventually(signal: AbortSignal, look: () => Promise<boolean>): Promise<boolean> {
  const endMs = performance.now() + patienceMs;
  while (!(await look())) {
    if (performance.now() > endMs) return false;
    await sleep(50, undefined, { signal });
  }
  return true;
}

async function makeOrigin(stack: AsyncDisposableStack, signal: AbortSignal): Promise<Origin> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-sweep-'));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const tokens = stack.use(await createTokens());
  const standby = stack.use(await createTokens({ labels: { issuing: 'meshca-standby' } }));
  const config = configOf(standby, true);
  const boot = () => ({ id: 'boot-1', uptimeMs: () => uptime() * 1000 });
  await using server = await startTestServer({ dir: join(dir, 'origin'), tokens, config, boot });
  const ready = await eventually(signal, async () => {
    const { notes } = await server.admin('Authorities/GetRotationStatus');
    return notes.filter(({ code }) => code === 'STANDBY_READY').length === 2;
  });
  if (!ready) throw new Error('no authority stands by');
  const authorities = await listed(server);
  await server.stop();
  for (const { tokenDir } of [tokens, standby])
    await cp(tokenDir, `${tokenDir}.origin`, { recursive: true });
  return {
    ...{ dir, tokens, standby, authorities },
    wallMs: systemClock.nowMs(),
    uptimeMs: uptime() * 1000,
  };
}

/** One start, and what must hold after it. */
class Start {
  readonly #origin: Origin;
  readonly #cell: Cell;
  readonly #context: DrillContext;
  readonly #breaches: Breaches;
  readonly #now: number;

  constructor(origin: Origin, cell: Cell, context: DrillContext, breaches: Breaches) {
    this.#origin = origin;
    this.#cell = cell;
    this.#context = context;
    this.#breaches = breaches;
    this.#now =
      cell.clock === 'behind'
        ? Math.floor(origin.wallMs / 1000) - 7_200
        : this.#endOf(cell.ending) + cell.instant;
  }

  async run(): Promise<void> {
    const { tokens, standby, dir } = this.#origin;
    const caseDir = join(dir, 'case');
    await rm(caseDir, { recursive: true, force: true });
    await cp(join(dir, 'origin'), caseDir, { recursive: true });
    for (const { tokenDir } of [tokens, standby]) {
      await rm(tokenDir, { recursive: true, force: true });
      if (tokenDir !== tokens.tokenDir || !this.#cell.issuingTokenAway)
        await cp(`${tokenDir}.origin`, tokenDir, { recursive: true });
    }
    try {
      await using server = await startTestServer({
        dir: caseDir,
        tokens,
        ...this.#machine(),
        config: configOf(standby, this.#cell.automatic),
      });
      await this.#judge(server);
    } catch (thrown) {
      this.#context.signal.throwIfAborted();
      this.#breach(
        `the start failed: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
      );
    }
  }

  #machine() {
    const { wallMs, uptimeMs } = this.#origin;
    const isRight = this.#cell.clock === 'right';
    const nowMs = this.#now * 1000;
    const boot = {
      id: isRight ? 'boot-1' : 'boot-2',
      uptimeMs: () => (isRight ? uptimeMs + nowMs - wallMs : 60_000),
    };
    return { clock: stopped(nowMs), boot: () => boot };
  }

  #endOf(ending: Ending): number {
    const found = this.#origin.authorities.find(({ kind, token }) =>
      ending === 'standby'
        ? kind === 'issuing' && token === 'standby'
        : kind === ending && token !== 'standby',
    );
    if (found === undefined) throw new Error(`there is no ${ending} authority`);
    return found.notAfter;
  }

  #over(kind: 'root' | 'issuing'): boolean {
    return this.#endOf(kind) <= this.#now;
  }

  #breach(text: string): void {
    this.#breaches.add(`${textOf(this.#cell)}: ${text}`);
  }

  #expect(holds: boolean, text: string): void {
    if (!holds) this.#breach(text);
  }

  async #judge(server: TestServer): Promise<void> {
    const { clock, issuingTokenAway, automatic } = this.#cell;
    await this.#acted(server);
    const over = this.#over('issuing');
    const signs = !issuingTokenAway && clock !== 'behind' && !over;
    const makes =
      over && !this.#over('root') && automatic && clock === 'right' && !issuingTokenAway;
    if (signs || makes) await this.#signing(server, makes);
    else await this.#silent(server, over);
    if (clock !== 'right' || issuingTokenAway) await this.#nothingMade(server);
    if (clock === 'unproven' && over && !this.#over('root') && automatic && !issuingTokenAway)
      await this.#accepted(server);
  }

  /** Rotation has looked once at what there is. */
  async #acted(server: TestServer): Promise<void> {
    const acted = await eventually(this.#context.signal, async () => {
      return (await server.admin('Authorities/GetRotationStatus')).acting;
    });
    this.#expect(acted, 'rotation does not act');
    const { notes } = await server.admin('Authorities/GetRotationStatus');
    const doubts = notes.some(({ code }) => code.startsWith('CLOCK_'));
    this.#expect(doubts === (this.#cell.clock !== 'right'), 'is wrong about its clock');
  }

  async #signing(server: TestServer, makes: boolean): Promise<void> {
    const ready = await eventually(this.#context.signal, async () => {
      return (await server.admin('Server/GetStatus')).ready;
    });
    if (!ready) {
      const { reasons } = await server.admin('Server/GetStatus');
      this.#breach(`is not ready: ${reasons.join()}`);
      return;
    }
    const { chainDer } = await server.mint('spiffe://mesh.test/sweep');
    const [leaf, issuer] = chainDer.map((der) => unwrap(parseCertificate(der)));
    if (leaf === undefined || issuer === undefined) throw new Error('the chain is too short');
    this.#expect(leaf.notAfter <= issuer.notAfter, 'a leaf outlives its issuer');
    this.#expect(issuer.notAfter > this.#now, 'an authority signs past its end');
    const issuers = (await listed(server)).filter(
      ({ kind, token }) => kind === 'issuing' && token === 'issuing',
    );
    if (makes) this.#expect(issuers.length === 2, `${issuers.length - 1} intermediates were made`);
  }

  /** Nothing is signed, and the reason names what helps. */
  async #silent(server: TestServer, over: boolean): Promise<void> {
    const { ready, reasons } = await server.admin('Server/GetStatus');
    const text = reasons.join();
    this.#expect(!ready, 'is ready');
    const code = await codeOf(server.mint('spiffe://mesh.test/sweep'));
    this.#expect(code !== 'resolved' && code !== 'INTERNAL', `a mint is answered ${code}`);
    if (!over || this.#cell.issuingTokenAway) return;
    const kind = this.#over('root') ? 'root' : 'issuing';
    this.#expect(
      text.includes(`meshca authority rotate --kind ${kind}`),
      `names no command: ${text}`,
    );
    if (this.#cell.clock === 'unproven')
      this.#expect(text.includes('accept-clock'), `does not name accept-clock: ${text}`);
    if (kind === 'root' || !this.#cell.automatic) await this.#nothingMade(server);
  }

  async #nothingMade(server: TestServer): Promise<void> {
    const known = new Set(this.#origin.authorities.map(({ id }) => id));
    const now = await listed(server);
    const made = now.filter(({ id, kind, token, state }) => {
      if (known.has(id) || !['root', 'issuing'].includes(kind)) return false;
      // a standby is kept ready without a schedule, and a plan whose token is away is no key
      return this.#cell.clock !== 'right' || (token !== 'standby' && state !== 'preparing');
    });
    this.#expect(made.length === 0, `made ${made.map(({ kind }) => kind).join()}`);
    const states = (all: readonly Authority[]): string =>
      all
        .flatMap(({ id, kind, token, state }) =>
          known.has(id) && kind !== 'log' ? [`${kind} in ${token} ${state}`] : [],
        )
        .sort()
        .join();
    if (this.#cell.clock !== 'right')
      this.#expect(
        states(now) === states(this.#origin.authorities),
        `authorities changed: ${states(now)} instead of ${states(this.#origin.authorities)}`,
      );
  }

  /** An operator accepts the clock, and the next intermediate is made. */
  async #accepted(server: TestServer): Promise<void> {
    await server.admin('Authorities/AcceptClock', { reason: 'the machine was off' });
    await this.#signing(server, true);
  }
}

/** Starts a server at instants around the end of each authority, with tokens away and wrong clocks. */
export const startSweep: Drill = {
  name: 'start-sweep',
  promise:
    'around the end of each authority a server starts, signs nothing past it, and says what helps',
  options: [
    '--only root|issuing|standby|jwt|log   starts around the end of this one',
    ...shareOptions,
  ],
  async run(context) {
    const only = context.options['only'];
    if (only !== undefined && !endings.some((ending) => ending === only))
      throw new Error(`--only ${only}: it is one of ${endings.join(', ')}`);
    const breaches = new Breaches();
    await using stack = new AsyncDisposableStack();
    const origin = await makeOrigin(stack, context.signal);
    context.say('a server with a standby token is made and stopped');
    let starts = 0;
    const startedMs = performance.now();
    const share = new Share(context);
    const all = [...cells(context.short)]
      .filter(({ ending }) => only === undefined || ending === only)
      .map((cell) => ({ name: textOf(cell), cell }));
    for (const { name, cell } of share.of('starts', all)) {
      context.signal.throwIfAborted();
      if (share.isOver()) break;
      const before = breaches.list.length;
      await new Start(origin, cell, context, breaches).run();
      starts += 1;
      share.played('starts', name, breaches.list.length === before);
      context.say([name, ...breaches.list.slice(before)].join('\n  ✗ '));
    }
    const secondsPerStart = round((performance.now() - startedMs) / 1000 / Math.max(starts, 1));
    const figures = { starts, secondsPerStart, short: context.short, ...share.figures() };
    return { figures, broken: breaches.list };
  },
};
