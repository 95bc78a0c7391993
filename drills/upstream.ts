import { setTimeout as sleep } from 'node:timers/promises';
import { unwrap } from '../src/common/errors/index.ts';
import { systemClock } from '../src/common/runtime/index.ts';
import { certificatesFromPem, sha256Hex, verifyX509Svid } from '../src/common/x509/index.ts';
import { startOpenBao, upstreamOf } from '../test/support/openbao.ts';
import { codeOf, startTestServer, type TestServer } from '../test/support/server.ts';
import { patienceMs } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';

/**
 * A real OpenBao holds the root. It is sealed at the first start and in the middle of rotations;
 * the server says so, signs on with what it has, survives a restart, and takes the intermediate by
 * itself once OpenBao is unsealed.
 */
export const upstream: Drill = {
  name: 'upstream',
  promise:
    'OpenBao signs the intermediates; sealed, rotations wait and say why, issuing goes on, and all resumes unattended',
  options: [
    '--rounds N   rotations with and without seal (short: 1, else 3)',
    '--sealed SECONDS   how long it is sealed in each (short: 2, else 10)',
  ],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  run: async ({ short, options, say, signal }) => {
    const breaches = new Breaches();
    const rounds = Number(options['rounds'] ?? (short ? 1 : 3));
    const sealedMs = Number(options['sealed'] ?? (short ? 2 : 10)) * 1000;
    await using bao = await startOpenBao();
    const roots = unwrap(certificatesFromPem(bao.rootPem));
    const refusedAsSealed = async (when: string): Promise<void> => {
      const code = await codeOf(server.admin('AuthoritySources/RequestAuthority'));
      breaches.expect(
        code === 'UPSTREAM_SEALED',
        `a request ${when}: ${code} instead of UPSTREAM_SEALED`,
      );
    };

    await bao.seal();
    await using server = await startTestServer({
      config: { authorities: { source: 'upstream', upstream: upstreamOf(bao) } },
    });
    const status = await server.admin('Server/GetStatus');
    breaches.expect(
      status.ready === false && /NO_ISSUER.*UPSTREAM_SEALED/.test(status.reasons.join('\n')),
      `a first start below a sealed upstream: ${JSON.stringify(status.reasons)}`,
    );
    await refusedAsSealed('at the first start');
    const early = await codeOf(server.mint('spiffe://mesh.test/early'));
    breaches.expect(early === 'NO_ISSUER', `a leaf without an issuer: ${early}`);
    say('sealed at the first start: not ready, and it says why');
    await bao.unseal();
    const firstIssuerSeconds = await within(() => server.server.port > 0, signal);
    breaches.expect(firstIssuerSeconds !== undefined, 'no first intermediate after the unsealing');
    const { rootsDer } = await server.admin('Authorities/GetBundle');
    breaches.expect(
      (rootsDer as Buffer[]).map(sha256Hex).join() === roots.map(sha256Hex).join(),
      'the bundle is not the root of the upstream alone',
    );
    say(`first intermediate ${firstIssuerSeconds} s after the unsealing`);

    const total = { minted: 0, failed: 0, issuers: new Set<string>() };
    const load = (): { stop(): Promise<void> } => {
      let running = true;
      const done = (async () => {
        for (; running && !signal.aborted; await sleep(50)) {
          try {
            const { chainDer } = await server.mint('spiffe://mesh.test/workload');
            total.minted += 1;
            total.issuers.add(sha256Hex(chainDer[1] as Buffer));
            breaches.expect(
              verifyX509Svid({ chainDer, bundle: () => roots, now: systemClock.now() }).ok,
              'a leaf does not verify under the root of the upstream alone',
            );
          } catch (thrown) {
            total.failed += 1;
            breaches.add(`issuing stopped: ${String(thrown)}`);
          }
        }
      })();
      return {
        stop: () => {
          running = false;
          return done;
        },
      };
    };
    const rotate = (): Promise<unknown> =>
      server.admin('Authorities/RotateAuthorities', { kind: 'issuing', reason: 'drill' });
    const rotatedSeconds: number[] = [];
    const resumedSeconds: number[] = [];
    for (let index = 1; index <= rounds; index += 1) {
      let minting = load();
      try {
        // each issuer is to be seen signing
        await within(() => total.issuers.size >= 2 * index - 1, signal);
        const first = await issuerOf(server);
        await rotate();
        const rotated = await within(async () => (await issuerOf(server)) !== first, signal);
        breaches.expect(rotated !== undefined, 'a rotation did not end');
        rotatedSeconds.push(rotated ?? -1);
        const second = await issuerOf(server);
        await bao.seal();
        await rotate();
        await sleep(sealedMs / 2, undefined, { signal });
        const notes = async (): Promise<readonly { code: string }[]> =>
          (await server.admin('Authorities/GetRotationStatus')).notes;
        const said = await within(
          async () => (await notes()).some(({ code }) => code === 'WAITING_IMPORT'),
          signal,
        );
        breaches.expect(
          said !== undefined,
          `a rotation below a sealed upstream does not say that it waits: ${JSON.stringify(await notes())}`,
        );
        await refusedAsSealed('while it is sealed');
        await minting.stop();
        await server.restart();
        const { ready, reasons } = await server.admin('Server/GetStatus');
        breaches.expect(
          ready === true,
          `a restart below a sealed upstream is not ready: ${JSON.stringify(reasons)}`,
        );
        minting = load();
        await sleep(sealedMs / 2, undefined, { signal });
        breaches.expect(
          (await issuerOf(server)) === second,
          'the issuer changed while the upstream was sealed',
        );
        await bao.unseal();
        const resumed = await within(async () => (await issuerOf(server)) !== second, signal);
        breaches.expect(resumed !== undefined, 'the rotation did not go on after the unsealing');
        resumedSeconds.push(resumed ?? -1);
        await within(() => total.issuers.size > 2 * index, signal);
        say(
          `round ${index}: rotated in ${rotated} s; sealed, restarted and unsealed, it went ` +
            `on after ${resumed} s; ${total.minted} leaves`,
        );
      } finally {
        await minting.stop();
      }
    }
    breaches.expect(
      total.issuers.size === 2 * rounds + 1,
      `${total.issuers.size} issuers signed, with ${2 * rounds} rotations`,
    );
    return {
      figures: {
        firstIssuerSeconds,
        rotatedSeconds,
        resumedSeconds,
        minted: total.minted,
        failed: total.failed,
        issuers: total.issuers.size,
      },
      broken: breaches.list,
    };
  },
};

async function issuerOf(server: TestServer): Promise<string> {
  const { authorities } = await server.admin('Authorities/ListAuthorities', {
    kind: 'issuing',
    state: 'active',
  });
  // the newest: for a moment the one before may sign as well
  return (authorities as { id: string }[]).at(-1)?.id ?? '';
}

/** After how many seconds it held, or undefined. */
async function within(
  holds: () => boolean | Promise<boolean>,
  signal: AbortSignal,
): Promise<number | undefined> {
  const startedMs = performance.now();
  for (; performance.now() - startedMs < patienceMs; await sleep(50, undefined, { signal }))
    if (await holds()) return round((performance.now() - startedMs) / 1000);
  return undefined;
}
