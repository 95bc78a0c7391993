import assert from 'node:assert/strict';
import { realpathSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { X509Source, type X509Svid } from '../../src/workload/index.ts';
import { agentSeat, type AgentSeat } from '../support/agent-seat.ts';
import { LeapClock } from '../support/local-server-fakes.ts';
import { eventually, rotationOf } from '../support/mesh.ts';
import { freePorts } from '../support/ports.ts';
import { startTestServer, testTrustDomain, type TestServer } from '../support/server.ts';
import { rawClient } from '../support/workload-lib.ts';
import { EnvoyProcess } from './envoy-process.ts';
import { executableOf } from './foreign-client.ts';
import { foreignProgram } from './foreign-programs.ts';

const days = 86_400;
const idOf = (name: string): string => `spiffe://${testTrustDomain}/${name}`;
/** Longer than a CRL, so that the clock of an agent can pass the end of one. */
const issuance = {
  crlBaseUrl: 'http://crl.test',
  crlLifeDays: 1,
  maximumTtlSeconds: 5 * days,
  defaultTtlSeconds: 1 * days,
  agentTtlSeconds: 1 * days,
};
const request = 'GET / HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n';

for (const { what, crlFailClosed, plainRoots } of [
  { what: 'and none that are about to end', crlFailClosed: false, plainRoots: false },
  { what: 'beside plain roots too', crlFailClosed: false, plainRoots: true },
  { what: 'and keeps them with crlFailClosed', crlFailClosed: true, plainRoots: false },
])
  describe(`an Envoy gets the CRLs, ${what}`, () => {
    const clock = new LeapClock();
    let server: TestServer;
    let seat: AgentSeat;
    let envoy: EnvoyProcess;
    let caller: X509Source;
    let revoked: X509Svid;
    let port = 0;

    async function createEntry(name: string, program: string): Promise<void> {
      await server.admin('Entries/CreateEntries', {
        entries: [
          {
            spiffeId: idOf(name),
            parentId: idOf('meshca/agent/node'),
            profile: 'revocable',
            x509TtlSeconds: 5 * days,
            selectors: [`unix:uid:${process.getuid?.() ?? 0}`, `unix:path:${program}`],
          },
        ],
      });
    }

    /** What Envoy answers to a caller with this certificate. */
    const answer = (svid: Parameters<typeof rawClient>[1]): Promise<'admitted' | 'refused'> =>
      rawClient(port, svid, {}, request).then(
        (text) => (text.startsWith('HTTP/1.1 200') ? 'admitted' : 'refused'),
        () => 'refused',
      );

    const withheld = async (): Promise<boolean> => {
      const page = await fetch(`http://127.0.0.1:${seat.agent.opsPort}/metrics`);
      return /^meshca_agent_sds_crls_withheld 1$/m.test(await page.text());
    };

    before(async () => {
      server = await startTestServer({ config: { issuance } });
      const { token } = await server.admin('Tokens/CreateJoinToken', { agentName: 'node' });
      seat = await agentSeat(
        server,
        { joinToken: { token } },
        { clock, sections: { sds: { crls: true, crlFailClosed } } },
      );
      await seat.start();
      await createEntry('ingress', executableOf(foreignProgram('envoy')));
      await createEntry('caller', realpathSync(process.execPath));
      const [first = 0, adminPort = 0] = await freePorts(2);
      port = first;
      envoy = await EnvoyProcess.start({
        ...{ name: 'ingress', socketPath: seat.socketPath, api: 'DELTA_GRPC', port, adminPort },
        ...{ svid: 'default', bundle: 'ROOTCA', peer: idOf('caller'), plainRoots },
      });
      caller = await X509Source.connect({ socketPath: seat.socketPath });
      revoked = caller.svid;
      await eventually(
        'the caller to be admitted',
        async () => (await answer(revoked)) === 'admitted',
      );
    });

    after(async () => {
      await caller?.close();
      await envoy?.[Symbol.asyncDispose]();
      await seat?.[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
    });

    test('the node chooses how it validates', async () => {
      const page = await envoy.admin('/config_dump?resource=dynamic_active_secrets');
      assert.equal(page.includes('envoy.tls.cert_validator.spiffe'), !plainRoots);
    });

    test('a certificate is refused once it is revoked, and another of the same ID is not', async () => {
      assert.equal(await withheld(), false);
      await server.admin('Certificates/RevokeCertificate', {
        serial: revoked.serial,
        reason: 'superseded',
      });
      await eventually('it to be refused', async () => (await answer(revoked)) === 'refused');
      assert.equal(await answer(await server.mint(idOf('caller'))), 'admitted');
    });

    test(
      crlFailClosed
        ? 'a set that was not renewed stays, with an alert: what is revoked stays refused'
        : 'a set that was not renewed is taken away, with an alert: what is revoked passes',
      async () => {
        const good = await server.mint(idOf('caller'));
        const { crls } = await rotationOf(server).status();
        const ends = Math.min(...crls.map(({ nextUpdate }) => nextUpdate));
        await server.stop();
        clock.leap((ends - 60 - clock.now()) * 1000);
        await eventually('the alert', withheld);
        if (!crlFailClosed)
          await eventually('it to pass', async () => (await answer(revoked)) === 'admitted');
        else assert.equal(await answer(revoked), 'refused');
        assert.equal(await answer(good), 'admitted');
      },
    );
  });
