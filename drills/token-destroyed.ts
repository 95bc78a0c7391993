import { execFile } from 'node:child_process';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { unwrap } from '../src/common/errors/index.ts';
import { parseCertificate } from '../src/common/x509/index.ts';
import { createTokens, type TestTokens } from '../test/support/softhsm.ts';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { MtlsWorkloads } from './mtls-workloads.ts';
import { OutageNode } from './outage-node.ts';
import { runNode } from './run-node.ts';
import { createWorld, livesOf, trustDomain } from './world.ts';
import { productEntry } from '../test/support/product.ts';

interface Plan {
  readonly workloads: number;
  readonly lifeSeconds: number;
  readonly pauseMs: number;
}
const longPlan: Plan = { workloads: 50, lifeSeconds: 90, pauseMs: 1_000 };
/**
 * Leaves live long enough that a machine that stands still for seconds does not let them expire
 * before the standby signs.
 */
const shortPlan: Plan = { workloads: 4, lifeSeconds: 45, pauseMs: 200 };
const promisedSeconds = 60;

/**
 * The directory with the tokens of root and issuing authorities is deleted for good, under traffic;
 * what stood by signs.
 */
export const tokenDestroyed: Drill = {
  name: 'token-destroyed',
  promise: `the issuing token is gone for good: the standby signs within ${promisedSeconds} s, and no handshake fails`,
  options: [
    '--workloads N        real workload processes',
    '--life N             life of all leaves in seconds',
    '--automatic          by policy, in place of one command',
  ],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const base = short ? shortPlan : longPlan;
    const plan: Plan = {
      ...base,
      workloads: Number(options['workloads'] ?? base.workloads),
      lifeSeconds: Number(options['life'] ?? base.lifeSeconds),
    };
    const automatic = options['automatic'] === 'true';
    const ttl = plan.lifeSeconds;
    // another HSM: its directory and its configuration are its own
    await using second = await createTokens({ labels: { issuing: 'meshca-standby' } });
    const { label, pinFile } = second.tokens.issuing;
    await using world = await createWorld({
      signal,
      signers: 1,
      hsm: {
        standby: {
          softhsmConf: second.confPath,
          label,
          pinFile,
          signers: 1,
          ...(automatic ? { activate: 'automatic', afterSeconds: 2 } : {}),
        },
      },
      issuance: livesOf(ttl),
      sections: { rotation: { automatic: false, retireMarginSeconds: 2, jwksCacheSeconds: 1 } },
    });
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using node = new OutageNode(world, 'node-real');
    await node.join({ port: world.port, lifeSeconds: ttl });
    await world.calls.admin('Entries/CreateEntries', {
      entries: [
        {
          spiffeId: `spiffe://${trustDomain}/workload`,
          parentId: node.agentId,
          selectors: [`unix:uid:${process.getuid?.() ?? 0}`],
        },
      ],
    });
    await using workloads = new MtlsWorkloads({
      socketPath: node.socketPath,
      pauseMs: plan.pauseMs,
    });
    await workloads.start(plan.workloads, signal);
    const standby = await until(
      patienceMs,
      'an authority of each kind stands by, confirmed',
      signal,
      async () => {
        const { authorities, notes } = await world.calls.admin('Authorities/GetRotationStatus');
        const ready = (notes as { code: string; authorityId: string }[])
          .filter(({ code }) => code === 'STANDBY_READY')
          .map(({ authorityId }) => authorityId);
        return ready.length === 2
          ? (authorities as Progress[])
              .filter(({ authority }) => ready.includes(authority.id))
              .map(({ authority }) => authority)
          : undefined;
      },
    );
    say(
      `${plan.workloads} workloads talk; ${standby.map(({ kind }) => kind).join(' and ')} authorities stand by`,
    );
    const { bundleJson: before } = await world.calls.admin('Authorities/GetBundle');

    await rm(world.tokens.tokenDir, { recursive: true, force: true });
    const lostMs = performance.now();
    say('the tokens of root and issuing authorities are deleted');
    let command = { code: 0 as number | null, stderr: '' };
    if (!automatic) {
      command = await runNode(
        [
          productEntry,
          '--server-socket',
          world.adminSocketPath,
          'authority',
          'activate',
          '--standby',
          '--reason',
          'drill: the token is destroyed',
          '--json',
        ],
        promisedSeconds * 1000,
        signal,
      );
      breaches.expect(
        command.code === 0,
        `meshca authority activate --standby ended with ${command.code}: ${command.stderr.slice(-500)}`,
      );
    }
    const commandSeconds = (performance.now() - lostMs) / 1000;
    const signs = await until(promisedSeconds * 1000, 'the standby signs', signal, async () => {
      const minted = await world.calls
        .mint(`spiffe://${trustDomain}/after-the-loss`)
        .catch(() => undefined);
      if (minted === undefined) return undefined;
      const { authorityKeyId } = unwrap(parseCertificate(minted.chainDer[0] as Buffer));
      return standby.some(({ subjectKeyId }) => subjectKeyId === authorityKeyId)
        ? performance.now()
        : undefined;
    });
    const signedSeconds = (signs - lostMs) / 1000;
    say(`the standby signed after ${signedSeconds.toFixed(1)} s`);
    breaches.expect(
      signedSeconds < promisedSeconds,
      `the standby signed after ${signedSeconds.toFixed(1)} s`,
    );

    await until(
      patienceMs + ttl * 1000,
      'every workload holds a leaf of the standby',
      signal,
      async () => {
        await workloads.reported();
        const standing = workloads
          .totals()
          .chains.map(([leaf]) => unwrap(parseCertificate(leaf as Buffer)).authorityKeyId);
        return standing.every((authorityKeyId) =>
          standby.some(({ subjectKeyId }) => subjectKeyId === authorityKeyId),
        )
          ? true
          : undefined;
      },
    );
    // and talks with it
    const talked = workloads.totals().handshakes;
    await until(patienceMs, 'they talk with it', signal, async () => {
      await workloads.reported();
      return workloads.totals().handshakes > talked ? true : undefined;
    });
    const status = await world.calls.admin('Server/GetStatus');
    breaches.expect(
      status['ready'] === true,
      `the server is not ready: ${JSON.stringify(status['reasons'])}`,
    );
    const { bundleJson: after } = await world.calls.admin('Authorities/GetBundle');
    // what the lost token had may leave it by now; nothing that somebody would have to learn has
    // come
    breaches.expect(
      keysOf(after).every((key) => keysOf(before).includes(key)),
      'somebody had to learn a new authority',
    );
    const { authorities } = await world.calls.admin('Authorities/ListAuthorities');
    const states = new Map(
      (authorities as { id: string; kind: string; state: string; token: string }[]).map((each) => [
        each.id,
        each,
      ]),
    );
    for (const { id, kind } of standby)
      breaches.expect(
        states.get(id)?.state === 'active',
        `the ${kind} authority that stood by is ${states.get(id)?.state}`,
      );
    const { handshakes, failed, failures, chains } = workloads.totals();
    breaches.expect(handshakes > 0, 'no handshake took place');
    breaches.expect(failed === 0, `${failed} handshakes failed: ${JSON.stringify(failures)}`);
    breaches.expect(server.alive(), 'the server ended');
    // the log goes on under the key that stood by for it, and a server starts without the token
    // that is gone
    breaches.expect(
      [...states.values()].some(
        ({ kind, token, state }) => kind === 'log' && token === 'standby' && state === 'active',
      ),
      'the key of the audit log was not replaced',
    );
    await server.kill();
    const again = world.start();
    await again.ready;
    const minted = await world.calls
      .mint(`spiffe://${trustDomain}/after-a-restart`)
      .catch((thrown: unknown) => String(thrown));
    breaches.expect(
      typeof minted !== 'string',
      `after a restart without the token nothing is signed: ${String(minted)}`,
    );
    const restarted = await world.calls.admin('Server/GetStatus');
    breaches.expect(
      restarted['ready'] === true,
      `after a restart the server is not ready: ${JSON.stringify(restarted['reasons'])}`,
    );
    const out = join(world.dir, 'audit.jsonl');
    for (const args of [
      ['--server-socket', world.adminSocketPath, 'audit', 'export', '--out', out],
      ['audit', 'verify', out],
    ]) {
      const { code, stderr } = await runNode([productEntry, ...args], patienceMs, signal);
      breaches.expect(
        code === 0,
        `meshca ${args.filter((arg) => !arg.startsWith('/')).join(' ')} ended with ${code}: ${stderr.slice(-300)}`,
      );
    }
    await again.kill();
    // another token in its place, empty as new: signing comes back to it
    await replaceTokens(world.tokens);
    const repaired = world.start();
    await repaired.ready;
    await world.calls.admin('Authorities/RotateAuthorities', { kind: 'jwt' });
    await until(patienceMs, 'an authority in the new issuing token signs', signal, async () => {
      const all = (await world.calls.admin('Authorities/ListAuthorities'))['authorities'] as {
        kind: string;
        state: string;
        token: string;
      }[];
      return all.some(
        ({ kind, state, token }) => kind === 'jwt' && state === 'active' && token === 'issuing',
      )
        ? true
        : undefined;
    });
    say('signing comes back to another issuing token');
    await repaired.kill();
    return {
      figures: {
        signedSeconds: round(signedSeconds, 1),
        commandSeconds: round(commandSeconds, 1),
        automatic,
        handshakes,
        failedHandshakes: failed,
        workloads: plan.workloads,
        chains: chains.length,
        leafLifeSeconds: ttl,
      },
      broken: breaches.list,
    };
  },
};

interface Progress {
  readonly authority: { readonly id: string; readonly kind: string; readonly subjectKeyId: string };
}

const keysOf = (bundleJson: unknown): readonly string[] =>
  (JSON.parse(bundleJson as string) as { keys: object[] }).keys.map((key) => JSON.stringify(key));

/** Two tokens under the labels and PINs of those that are gone. */
async function replaceTokens({ dir, modulePath, tokens }: TestTokens): Promise<void> {
  const script = fileURLToPath(import.meta.resolve('#softhsm/init.mjs'));
  await promisify(execFile)(process.execPath, [
    script,
    '--dir',
    dir,
    '--module',
    modulePath,
    '--issuing-label',
    tokens.issuing.label,
    '--root-label',
    tokens.root.label,
    '--json',
  ]);
}

async function until<T>(
  withinMs: number,
  what: string,
  signal: AbortSignal,
  look: () => Promise<T | undefined>,
): Promise<T> {
  const endMs = performance.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > endMs) throw new Error(`not within ${withinMs / 1000} s: ${what}`);
    await sleep(100, undefined, { signal });
  }
}
