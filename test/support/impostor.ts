import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { createCsr, parseCertificate, sha256Hex } from '../../src/common/x509/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import { FakeServer } from './agent-fake-server.ts';
import { testTrustDomain, type TestServer } from './server.ts';
import { makeKey, type TestCertificate } from './x509.ts';

/**
 * A CA below a real server, made by it, that poses as `/meshca/server`: real certificates, whose
 * chain ends in the real root, behind the real contract.
 */
export interface Impostor extends AsyncDisposable {
  readonly fake: FakeServer;
  readonly address: string;
  readonly authority: TestCertificate;
  /** SHA-256 (hex) of the public key of its CA. */
  readonly issuerFingerprint: string;
}

/** The CA downstream, with its key in the hand of the attacker. */
export async function downstreamCa(
  server: TestServer,
): Promise<{ readonly authority: TestCertificate; readonly rootDer: Buffer }> {
  const key = makeKey();
  const { chainDer, rootDer } = await server.admin('AuthoritySources/SignDownstream', {
    csrDer: createCsr(key.privateKey),
    ttlSeconds: 86_400,
  });
  const parsed = unwrap(parseCertificate(chainDer[0] as Buffer));
  return { authority: { key, subject: parsed.subjectDer, parsed }, rootDer };
}

export async function startImpostor(server: TestServer): Promise<Impostor> {
  const { authority, rootDer } = await downstreamCa(server);
  const root = unwrap(parseCertificate(rootDer));
  const fake = new FakeServer({
    root: { key: authority.key, subject: root.subjectDer, parsed: root },
    intermediate: authority,
  });
  fake.serverId = `spiffe://${testTrustDomain}/meshca/server`;
  await fake.start();
  return {
    fake,
    authority,
    get address() {
      return fake.address;
    },
    issuerFingerprint: sha256Hex(authority.parsed.spkiDer),
    [Symbol.asyncDispose]: () => fake.stop(),
  };
}

/** A port in front of servers; who turns it turns the traffic, as one who stands in between. */
export interface Junction extends AsyncDisposable {
  readonly address: string;
  /** Ends what is open. */
  turn(port: number): void;
}

export async function startJunction(port: number): Promise<Junction> {
  let target = port;
  const open = new Set<Socket>();
  const server = createServer((socket) => {
    const onward = connect(target, '127.0.0.1');
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      open.add(from);
      from.on('error', () => to.destroy());
      from.on('close', () => {
        open.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const end = (): void => {
    for (const socket of open) socket.destroy();
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    turn: (to) => {
      target = to;
      end();
    },
    [Symbol.asyncDispose]: async () => {
      end();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
