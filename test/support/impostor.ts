import { createCsr, parseCertificate, sha256Hex } from '../../src/common/x509/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import { FakeServer } from './agent-fake-server.ts';
import { testTrustDomain, type TestServer } from './server.ts';
import { tcpGate } from './tcp-gate.ts';
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
  const gate = await tcpGate(() => target);
  return {
    address: gate.address,
    turn: (to) => {
      target = to;
      gate.open();
    },
    [Symbol.asyncDispose]: () => gate[Symbol.asyncDispose](),
  };
}
