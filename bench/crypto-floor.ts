import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import pkcs11 from 'pkcs11js';
import { createPublicKey, generateKeyPairSync, hash, randomBytes, sign, verify } from 'node:crypto';

/** The token and P-256 key with which the floor signs. */
export interface FloorToken {
  readonly modulePath: string;
  readonly tokenLabel: string;
  readonly pin: string;
  readonly environment: Readonly<Record<string, string>>;
  /** CKA_ID of a P-256 key pair in the token, hex. */
  readonly ckaId: string;
  readonly spkiDer: Buffer;
}

export interface FloorRate {
  readonly perSecond: number;
  readonly cpuUs: number;
}

/**
 * The cost of the cryptography of issuance alone on this machine: processes that only import a
 * requester's key and verify its signature, sign in the token, and verify that signature.
 * Independent of src/, so that a defect there does not lower the bar. `perSecond` counts
 * certificates' worth of cryptography of all processes together; `cpuUs` is the CPU time of one, in
 * microseconds.
 */
export async function measureCryptoFloor(options: {
  readonly token: FloorToken;
  readonly seconds: number;
  readonly processes: number;
  readonly execPath: string;
}): Promise<FloorRate> {
  const { token, seconds, processes, execPath } = options;
  const children = Array.from({ length: processes }, () =>
    fork(fileURLToPath(import.meta.url), ['--crypto-floor-child'], {
      execPath,
      execArgv: [],
      env: { ...token.environment },
      serialization: 'advanced',
    }),
  );
  try {
    const next = (child: (typeof children)[number]): Promise<unknown> =>
      new Promise((resolve, reject) => {
        child.once('message', resolve);
        child.once('exit', (code, signal) =>
          reject(new Error(`a floor process ended: ${signal ?? code}`)),
        );
      });
    // all are logged in before the first begins to count, one after another, since a login of
    // SoftHSM writes the token's file, and a reader at that moment finds no token
    for (const child of children) {
      child.send({ token });
      await next(child);
    }
    const rates = await Promise.all(
      children.map((child) => {
        child.send({ seconds });
        return next(child) as Promise<FloorRate>;
      }),
    );
    return {
      perSecond: rates.reduce((sum, rate) => sum + rate.perSecond, 0),
      cpuUs: rates.reduce((sum, rate) => sum + rate.cpuUs, 0) / rates.length,
    };
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}

interface Prepared {
  readonly lib: pkcs11.PKCS11;
  readonly session: Buffer;
  readonly key: Buffer;
  readonly token: FloorToken;
}

function open(token: FloorToken): Prepared {
  const lib = new pkcs11.PKCS11(token.modulePath);
  lib.C_Initialize({ flags: pkcs11.CKF_OS_LOCKING_OK });
  const slot = lib
    .C_GetSlotList(true)
    .find((each) => lib.C_GetTokenInfo(each).label.trim() === token.tokenLabel);
  if (slot === undefined) throw new Error(`no token ${token.tokenLabel}`);
  const session = lib.C_OpenSession(slot, pkcs11.CKF_SERIAL_SESSION);
  lib.C_Login(session, pkcs11.CKU_USER, token.pin);
  lib.C_FindObjectsInit(session, [
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_PRIVATE_KEY },
    { type: pkcs11.CKA_ID, value: Buffer.from(token.ckaId, 'hex') },
  ]);
  const key = lib.C_FindObjects(session);
  lib.C_FindObjectsFinal(session);
  if (key === null) throw new Error(`no key ${token.ckaId}`);
  return { lib, session, key, token };
}

function measure({ lib, session, key, token }: Prepared, seconds: number): FloorRate {
  const requester = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const requesterSpki = requester.publicKey.export({ format: 'der', type: 'spki' });
  // The sizes of a CSR's signed part and of a leaf's TBSCertificate.
  const request = randomBytes(180);
  const tbs = randomBytes(420);
  const proof = sign('sha256', request, requester.privateKey);
  const own = createPublicKey({ key: Buffer.from(token.spkiDer), format: 'der', type: 'spki' });
  const mechanism = { mechanism: pkcs11.CKM_ECDSA };

  let count = 0;
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  let elapsedMs = 0;
  while (elapsedMs < seconds * 1000) {
    for (let round = 0; round < 20; round++, count++) {
      const theirs = createPublicKey({ key: requesterSpki, format: 'der', type: 'spki' });
      if (!verify('sha256', request, theirs, proof)) throw new Error('the proof does not verify');
      lib.C_SignInit(session, mechanism, key);
      const signature = lib.C_Sign(session, hash('sha256', tbs, 'buffer'), Buffer.allocUnsafe(128));
      if (!verify('sha256', tbs, { key: own, dsaEncoding: 'ieee-p1363' }, signature))
        throw new Error('the signature does not verify');
    }
    elapsedMs = performance.now() - startMs;
  }
  const { user, system } = process.cpuUsage(cpu);
  return { perSecond: (count * 1000) / elapsedMs, cpuUs: (user + system) / count };
}

if (process.argv[2] === '--crypto-floor-child') {
  let prepared: Prepared | undefined;
  process.on(
    'message',
    (message: { readonly token: FloorToken } | { readonly seconds: number }) => {
      if ('token' in message) {
        prepared = open(message.token);
        process.send?.('ready');
      } else if (prepared !== undefined) {
        process.send?.(measure(prepared, message.seconds));
      }
    },
  );
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
}
