import { randomBytes, sign, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { silentLogger, systemClock, systemRandom } from '../../src/common/runtime/index.ts';
import type { KeyType } from '../../src/common/x509/key-type.ts';
import {
  createSigners,
  openTokenAdmin,
  type KeyHandle,
  type ManagedSigners,
  type ProofOfPossession,
  type SignersOptions,
  type TokenConfig,
} from '../../src/hsm/index.ts';
import { createTokens, type TestTokens } from './softhsm.ts';

export interface HsmFixture extends AsyncDisposable {
  readonly tokens: TestTokens;
  readonly token: TokenConfig;
  /** Makes a key in the issuing token. */
  makeKey(keyType: KeyType): Promise<KeyHandle>;
  /** Signers on the issuing token, closed with the fixture. */
  signers(options?: Partial<SignersOptions>): Promise<ManagedSigners>;
}

export async function hsmFixture(): Promise<HsmFixture> {
  const tokens = await createTokens();
  const { label, pin } = tokens.tokens.issuing;
  const token: TokenConfig = {
    modulePath: tokens.modulePath,
    tokenLabel: label,
    pin,
    environment: tokens.environment,
  };
  const opened: ManagedSigners[] = [];
  return {
    tokens,
    token,
    makeKey: async (keyType) => {
      await using admin = await openTokenAdmin(token, adminOptions);
      const ckaId = randomBytes(8).toString('hex');
      const { spkiDer } = await admin.generateKey({
        ckaId,
        label: `meshca/test/${keyType}`,
        keyType,
      });
      return { ckaId, keyType, spkiDer };
    },
    signers: async (options = {}) => {
      const signers = await createSigners({ ...signersDefaults, token, ...options });
      opened.push(signers);
      return signers;
    },
    [Symbol.asyncDispose]: async () => {
      await Promise.all(opened.map((signers) => signers.close()));
      await tokens[Symbol.asyncDispose]();
    },
  };
}

export const adminOptions = {
  execPath: process.execPath,
  clock: systemClock,
  logger: silentLogger,
} as const;

export const signersDefaults = {
  processes: 2,
  mode: 'sync',
  sessionsPerProcess: 4,
  execPath: process.execPath,
  clock: systemClock,
  random: systemRandom,
  logger: silentLogger,
} as const satisfies Partial<SignersOptions>;

export function proofBy(
  key: { publicKey: KeyObject; privateKey: KeyObject },
  algorithm: ProofOfPossession['algorithm'] = 'ecdsa-sha256',
): ProofOfPossession {
  const signedBytes = randomBytes(150);
  return {
    spkiDer: key.publicKey.export({ format: 'der', type: 'spki' }),
    signedBytes,
    signature: sign(algorithm.split('-')[1] as string, signedBytes, key.privateKey),
    algorithm,
  };
}

export const newRequester = (): { publicKey: KeyObject; privateKey: KeyObject } =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** Process IDs of the children of `pid`. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter((text) => text !== '')
    .map(Number);
}

/** Whether a SIGSTOP has stopped it. */
export function isStopped(pid: number): boolean {
  try {
    return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}
