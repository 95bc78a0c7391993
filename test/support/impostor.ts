import { createCsr, parseCertificate, sha256Hex } from '../../src/common/x509/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import { FakeServer } from './agent-fake-server.ts';
import { testTrustDomain, type TestServer } from './server.ts';
import { tcpGate } from './tcp-gate.ts';
import { makeKey, type TestCertificate, type TestKey } from './x509.ts';

/**
 * A CA below the root of a real server, certified by a real CA, that poses as `/meshca/server`: real certificates, whose
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
  return { authority: authorityOf(key, chainDer[0] as Buffer), rootDer };
}

export async function startImpostor(server: TestServer): Promise<Impostor> {
  const { authority, rootDer } = await downstreamCa(server);
  return poseAsServer(authority, [rootDer]);
}

/** A certificate that a real CA gave to this key, as an authority of the attacker. */
export function authorityOf(key: TestKey, certificateDer: Buffer): TestCertificate {
  const parsed = unwrap(parseCertificate(certificateDer));
  return { key, subject: parsed.subjectDer, parsed };
}

/** This CA issues `/meshca/server` to itself. `aboveDer`: what is above it, the root last. */
export async function poseAsServer(
  authority: TestCertificate,
  aboveDer: readonly Buffer[],
): Promise<Impostor> {
  const root = unwrap(parseCertificate(aboveDer.at(-1) as Buffer));
  const fake = new FakeServer({
    root: { key: authority.key, subject: root.subjectDer, parsed: root },
    intermediate: authority,
    aboveDer: aboveDer.slice(0, -1),
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
