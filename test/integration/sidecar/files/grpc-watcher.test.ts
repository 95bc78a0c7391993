import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import test from 'node:test';
import { experimental, Server } from '@grpc/grpc-js';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { certificatesToPem, pemEncode } from '../../../../src/common/x509/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import type { SetContent } from '../../../../sidecar/files/certificate-set.ts';
import { fileOperations } from '../../../../sidecar/files/file-operations.ts';
import { layouts } from '../../../../sidecar/files/layouts.ts';
import { TargetSets } from '../../../../sidecar/files/set-directory.ts';
import { defer } from '../../../support/agent-fake-server.ts';
import {
  plainPermissions,
  setContent,
  setIssuer,
  type SetIssuer,
} from '../../../support/certificate-sets.ts';
import { until } from '../../../support/until.ts';

/** A TLS connection with the pair and roots of a set. Undefined: one side refuses the other. */
async function shownTo(
  { chainDer, privateKeyPkcs8Der, rootsDer }: SetContent,
  port: number,
): Promise<string | undefined> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    servername: 'web.example.org',
    ALPNProtocols: ['h2'],
    cert: certificatesToPem(chainDer),
    key: pemEncode('PRIVATE KEY', privateKeyPkcs8Der),
    ca: certificatesToPem(rootsDer),
  });
  try {
    // a server that refuses the client says so after the handshake
    const event = await Promise.race([
      once(socket, 'data').then(() => 'data'),
      once(socket, 'close').then(() => 'close'),
    ]);
    return event === 'data' ? socket.getPeerCertificate().serialNumber.toLowerCase() : undefined;
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

test("gRPC's watcher of files takes pair and roots of each set with the layout grpc", async (context) => {
  const parent = await realpath(await mkdtemp(join(tmpdir(), 'meshca-grpc-')));
  defer(context, () => rm(parent, { recursive: true, force: true }));
  const directory = join(parent, 'target');
  await mkdir(directory);
  const sets = new TargetSets(
    {
      directory,
      layout: { ...layouts.grpc, pkcs12: undefined, jks: undefined },
      permissions: plainPermissions,
    },
    { files: fileOperations, user: effectiveUser() },
  );
  const serve = async (issuer: SetIssuer): Promise<SetContent> => {
    const content = setContent(issuer, { dnsSans: ['web.example.org'] });
    unwrap(await sets.swap(unwrap(await sets.write(content))));
    return content;
  };
  const issuer = setIssuer();
  const first = await serve(issuer);
  const current = join(directory, 'current');
  const watcher = new experimental.FileWatcherCertificateProvider({
    certificateFile: join(current, 'certificates.pem'),
    privateKeyFile: join(current, 'private_key.pem'),
    caCertificateFile: join(current, 'ca_certificates.pem'),
    refreshIntervalMs: 20,
  });
  const server = new Server();
  defer(context, () => server.forceShutdown());
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync(
      '127.0.0.1:0',
      experimental.createCertificateProviderServerCredentials(watcher, watcher, true),
      (error, bound) => (error === null ? resolve(bound) : reject(error)),
    );
  });
  const shows = (content: SetContent): Promise<void> =>
    until(
      async () => (await shownTo(content, port)) === content.serial,
      `the server has the set ${content.serial}`,
    );
  await shows(first);
  await shows(await serve(issuer));
  const foreign = setIssuer();
  assert.equal(await shownTo(setContent(foreign), port), undefined, 'another root is not trusted');
  await shows(await serve(foreign));
  assert.equal(
    await shownTo(first, port),
    undefined,
    'and the root before is not trusted any more',
  );
});
