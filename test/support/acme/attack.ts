import { createCsr } from '../../../src/common/x509/index.ts';
import { statedCsr, type StatedCsr } from '../csr.ts';
import { newKey } from '../services-world.ts';
import type { AcmeClient, AcmeWorld } from './world.ts';
import { base64url, type AcmeReply } from './wire.ts';

/**
 * One attack: what it is, the status and the type of the problem that it meets, and what it does.
 * `prepare` does what anybody may do, and returns the attack itself, which must have no effect.
 */
export type Attack = readonly [
  name: string,
  status: number,
  problem: string,
  prepare: (at: Scene) => Promise<() => Promise<AcmeReply>> | (() => Promise<AcmeReply>),
];

/** Two accounts of one tenant, and a server. */
export interface Scene {
  readonly world: AcmeWorld;
  readonly alice: AcmeClient;
  readonly mallory: AcmeClient;
}

export const order = (...names: readonly string[]) => ({
  identifiers: (names.length === 0 ? ['www.shop.test'] : names).map((value) => ({
    type: 'dns',
    value,
  })),
});

export const csr = (stated: StatedCsr, key = newKey()) => ({
  csr: base64url(statedCsr(key, stated)),
});

export const plainCsr = { csr: base64url(createCsr(newKey())) };

export const www: StatedCsr = { dnsSans: ['www.shop.test'] };
