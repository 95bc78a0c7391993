import { spiffeSubject } from '../src/domain/index.ts';
import { execFile } from 'node:child_process';
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, createServer } from 'node:tls';
import { promisify } from 'node:util';
import type { KeyObject } from 'node:crypto';
import { silentLogger, systemClock, systemRandom } from '../src/common/runtime/index.ts';
import { SpiffeId } from '../src/common/spiffe/index.ts';
import { unwrap, type PkiError } from '../src/common/errors/index.ts';
import {
  certificatesToPem,
  generateKeyPairAsync,
  parseCertificate,
  spkiOf,
  pkcs8Of,
  pemEncode,
} from '../src/common/x509/index.ts';
import { assembleSigned, buildLeafTbs, newSerial } from '../src/certs/index.ts';
import { openTokenAdmin } from '../src/hsm/index.ts';
import { authorizeAny, connectTls, X509Source } from '../src/workload/index.ts';
import {
  eventually,
  quickLives,
  rotationOf,
  startNode,
  startTraffic,
  type MeshNode,
} from '../test/support/mesh.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../test/support/server.ts';
import { patienceMs } from '../test/support/until.ts';
import { listen } from '../test/support/workload-lib.ts';
import { Breaches, round, type Drill } from './drill.ts';

const run = promisify(execFile);
const windowSeconds = 4;

/**
 * An intermediate is stolen under load. Its leaves and its root are replaced, and certificates by
 * the thief are refused.
 */
export const compromise: Drill = {
  name: 'compromise',
  promise:
    'a stolen intermediate: no leaf of it is missed, no handshake fails, and what the thief ' +
    'signs is refused, by those who ignore CRLs too',
  options: ['--agents N           nodes with a workload each (default 3 with --short, else 20)'],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const count = Number(options['agents'] ?? (short ? 3 : 20));
    if (!Number.isInteger(count) || count < 2)
      throw new Error('--agents wants a whole number from 2 on');
    await using stack = new AsyncDisposableStack();
    // lives are so long that no certificate is renewed for its age: each replacement is due to the
    // taint, at any speed of the machine
    const life = 4 * (patienceMs / 1000);
    const server = stack.use(
      await startTestServer({
        config: {
          ...quickLives,
          issuance: {
            ...quickLives.issuance,
            maximumTtlSeconds: life,
            defaultTtlSeconds: life,
            agentTtlSeconds: life,
            serverTtlSeconds: life,
          },
        },
      }),
    );
    const { active, byId, status } = rotationOf(server);
    const nodes: MeshNode[] = [];
    for (let index = 0; index < count; index += 1)
      nodes.push(stack.use(await startNode(server, `node-${index}`)));
    const sources: X509Source[] = [];
    for (const [index, node] of nodes.entries())
      sources.push(
        stack.use(
          await X509Source.connect({
            socketPath: node.socketPath,
            ...(index === 0 ? { crl: 'enforce' as const } : {}),
          }),
        ),
      );
    const [strict, lax] = [sources[0] as X509Source, sources[1] as X509Source];
    const stops = await Promise.all(
      sources.map((source, index) =>
        startTraffic(source, sources[(index + 1) % count] as X509Source),
      ),
    );

    const stolen = await active('issuing');
    const root = await active('root');
    const thief = await Thief.copy(server, stolen);
    breaches.expect(
      (await verdict(lax, await thief.sign())) === 'ok' &&
        (await verdict(strict, await thief.sign())) === 'ok',
      'the thief was refused before anything was done: the drill shows nothing',
    );
    // at a random instant between the renewals of the workloads
    await new Promise((resolve) => setTimeout(resolve, systemRandom.uniform() * 3000));
    signal.throwIfAborted();
    const startedMs = performance.now();
    const since = (): number => round((performance.now() - startedMs) / 1000);

    const plan = await server.admin('Authorities/CompromiseAuthority', {
      id: stolen!.id,
      windowSeconds,
      reason: 'stolen',
    });
    breaches.expect(
      plan.replacesRoot === true && plan.tainted.includes(root!.id),
      'the plan leaves the root in place although a workload ignores CRLs',
    );
    // its successor is confirmed before it signs, so that only the CRL has an effect; nothing may
    // sign before twice the refresh hint
    await server.admin('Authorities/ContinueRotation', { kind: 'root', stopAfter: 'published' });
    const explain = async (thrown: unknown): Promise<never> => {
      throw new Error(
        `${(thrown as Error).message}: ` +
          `${JSON.stringify((await status()).authorities.map(({ authority, live, liveUnreported }: any) => [authority.kind, authority.state, live, liveUnreported]))}`,
      );
    };
    await eventually(
      'the stolen intermediate is tainted',
      async () => (await byId(stolen!.id)).authority.state !== 'active',
    ).catch(explain);
    const taintedAfter = since();
    await eventually(
      'every leaf of it is replaced',
      async () => (await byId(stolen!.id)).live === 0,
    ).catch(explain);
    const replacedAfter = since();
    say(
      `every leaf was replaced ${replacedAfter} s after the order, in a window of ${windowSeconds} s`,
    );
    for (const source of sources)
      breaches.expect(
        source.svid.leaf.authorityKeyId !== stolen!.subjectKeyId,
        `${source.svid.id.toString()} still has a leaf of the stolen intermediate`,
      );
    breaches.expect(
      replacedAfter < life / 4,
      `the leaves took ${replacedAfter - taintedAfter} s: their age may have replaced them`,
    );

    // with a certificate that the thief signs at each of these moments
    let byCrl = '';
    await eventually('who checks CRLs refuses the thief', async () => {
      byCrl = await verdict(strict, await thief.sign());
      return byCrl !== 'ok';
    }).catch(explain);
    const refusedByCrlAfter = since();
    breaches.expect(
      byCrl === 'CERTIFICATE_REVOKED',
      `who checks CRLs refused the thief with ${byCrl}`,
    );
    const ignoringThen = await verdict(lax, await thief.sign());
    breaches.expect(
      ignoringThen === 'ok' && (await byId(root!.id)).authority.state === 'active',
      'the root in service was held, and who ignores CRLs refused the thief with ' +
        `${ignoringThen}: the drill does not show what the CRL does`,
    );
    say(
      `who checks CRLs refused the thief ${refusedByCrlAfter} s after the order; now the new root goes on`,
    );
    await server.admin('Authorities/ContinueRotation', { kind: 'root' });
    await eventually(
      'who ignores CRLs refuses the thief',
      async () => (await verdict(lax, await thief.sign())) !== 'ok',
    ).catch(explain);
    const refusedWithoutCrlAfter = since();
    await eventually(
      'the old root has left the bundle',
      async () => (await byId(root!.id)).authority.state === 'revoked',
    ).catch(explain);
    await eventually('the workloads hold the new root alone', () =>
      sources.every(
        (source) =>
          source.bundles.get(testTrustDomain)?.every((der) => !der.equals(root!.certificateDer)) ===
          true,
      ),
    );
    const rootReplacedAfter = since();
    say(`the old root was gone ${rootReplacedAfter} s after the order`);

    const forged = await thief.sign();
    const laxVerdict = await verdict(lax, forged);
    breaches.expect(laxVerdict !== 'ok', 'a peer that ignores CRLs still admits the thief');
    const rootsPem = certificatesToPem(lax.bundles.get(testTrustDomain) as readonly Buffer[]);
    const opensslRefuses = await refusedByOpenssl(server, rootsPem, forged);
    breaches.expect(opensslRefuses, 'OpenSSL still verifies the leaf of the thief');
    const nodeRefuses = await refusedByNode(rootsPem, forged);
    breaches.expect(nodeRefuses, 'node:tls still verifies the leaf of the thief');
    let [handshakes, failedHandshakes] = [0, 0];
    for (const traffic of await Promise.all(stops.map((stop) => stop()))) {
      handshakes += traffic.handshakes;
      failedHandshakes += traffic.failed.length;
      for (const failure of traffic.failed) breaches.add(`a handshake failed: ${failure}`);
    }
    return {
      figures: {
        seconds: since(),
        agents: count,
        workloads: count,
        windowSeconds,
        replacedAfter,
        refusedByCrlAfter,
        refusedWithoutCrlAfter,
        rootReplacedAfter,
        handshakes,
        failedHandshakes,
        refusedBy: { libraryIgnoringCrls: laxVerdict, openssl: opensslRefuses, node: nodeRefuses },
        broken: breaches.list,
      },
      broken: breaches.list,
    };
  },
};

interface Forged {
  readonly chainDer: readonly Buffer[];
  readonly privateKey: KeyObject;
}

/**
 * Has a copy of the token and its PIN, and signs with the stolen key without the CA and its
 * records.
 */
class Thief {
  readonly #server: TestServer;
  readonly #authority: any;
  readonly #confPath: string;

  private constructor(server: TestServer, authority: any, confPath: string) {
    this.#server = server;
    this.#authority = authority;
    this.#confPath = confPath;
  }

  /** The copy is removed with the server. */
  static async copy(server: TestServer, authority: any): Promise<Thief> {
    const { tokenDir, confPath } = server.tokens;
    const loot = join(server.dir, 'loot');
    await mkdir(loot, { mode: 0o700 });
    await cp(tokenDir, join(loot, 'tokens'), { recursive: true });
    await writeFile(
      join(loot, 'softhsm2.conf'),
      (await readFile(confPath, 'utf8')).replace(tokenDir, join(loot, 'tokens')),
    );
    return new Thief(server, authority, join(loot, 'softhsm2.conf'));
  }

  async sign(): Promise<Forged> {
    const { config } = this.#server;
    const issuer = unwrap(parseCertificate(this.#authority.certificateDer));
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const now = systemClock.now();
    const tbs = buildLeafTbs({
      serial: newSerial(systemClock.nowMs(), systemRandom),
      issuer,
      spkiDer: spkiOf(privateKey),
      subject: spiffeSubject(SpiffeId.of(`spiffe://${testTrustDomain}/node-0`)),
      notBefore: now - 10,
      notAfter: now + 3600,
      profile: 'short-lived',
    });
    const token = await openTokenAdmin(
      {
        modulePath: config.hsm.module,
        tokenLabel: config.hsm.issuing.label,
        pin: this.#server.tokens.tokens.issuing.pin,
        environment: { SOFTHSM2_CONF: this.#confPath },
      },
      { execPath: process.execPath, clock: systemClock, logger: silentLogger },
    );
    try {
      const { ckaId, keyType } = this.#authority;
      const signature = await token.sign({ ckaId, keyType, spkiDer: issuer.spkiDer }, tbs);
      return {
        chainDer: [assembleSigned(tbs, keyType, signature), this.#authority.certificateDer],
        privateKey,
      };
    } finally {
      await token.close();
    }
  }
}

const identityOf = ({ chainDer, privateKey }: Forged) => ({
  cert: certificatesToPem(chainDer),
  key: pemEncode('PRIVATE KEY', pkcs8Of(privateKey)),
});

/** What a workload answers to a server with this certificate: `ok`, or the code of the refusal. */
async function verdict(source: X509Source, forged: Forged): Promise<string> {
  const tls = createServer({ ...identityOf(forged), minVersion: 'TLSv1.3' }, (socket) =>
    socket.on('error', () => {}),
  );
  tls.on('tlsClientError', () => {});
  const port = await listen(tls);
  try {
    const socket = await connectTls(source, { expect: authorizeAny(), host: '127.0.0.1', port });
    socket.destroy();
    return 'ok';
  } catch (thrown) {
    return (thrown as PkiError).code;
  } finally {
    tls.close();
  }
}

async function refusedByOpenssl(
  server: TestServer,
  rootsPem: string,
  { chainDer }: Forged,
): Promise<boolean> {
  const [roots, chain, leaf] = [
    join(server.dir, 'roots.pem'),
    join(server.dir, 'chain.pem'),
    join(server.dir, 'leaf.pem'),
  ] as const;
  await Promise.all([
    writeFile(roots, rootsPem),
    writeFile(chain, certificatesToPem(chainDer.slice(1))),
    writeFile(leaf, certificatesToPem(chainDer.slice(0, 1))),
  ]);
  return run('openssl', ['verify', '-CAfile', roots, '-untrusted', chain, leaf]).then(
    () => false,
    () => true,
  );
}

async function refusedByNode(rootsPem: string, forged: Forged): Promise<boolean> {
  const tls = createServer({ ...identityOf(forged), minVersion: 'TLSv1.3' }, (socket) =>
    socket.on('error', () => {}),
  );
  tls.on('tlsClientError', () => {});
  const port = await listen(tls);
  try {
    return await new Promise((resolve) => {
      const socket = connect(
        { host: '127.0.0.1', port, ca: rootsPem, checkServerIdentity: () => undefined },
        () => {
          socket.destroy();
          resolve(false);
        },
      );
      socket.on('error', () => resolve(true));
    });
  } finally {
    tls.close();
  }
}
