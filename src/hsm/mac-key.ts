import type graphene from 'graphene-pk11';
import pkcs11 from 'pkcs11js';

import { PkiError } from '../common/errors/index.ts';
import type { MacKeyHandle } from './mac-port.ts';
import type { EngineKey } from './signing-engine.ts';
import { checkMacKey, findMacKey } from './token-keys.ts';

/** A secret key in the token, with what is needed to compute with it. */
export interface MacKey extends EngineKey {
  readonly ckaId: string;
  readonly checkValue: Buffer;
}

export const macLength = 32;

/** Nothing else asks for the MAC of these bytes: inputs of ours begin with a letter. */
export const macCheckInput = Buffer.from('\u0000meshca mac key check', 'utf8');

/**
 * Finds the key and checks its attributes.
 *
 * @throws PkiError HSM_KEY_NOT_FOUND, HSM_KEY_UNFIT, HSM_UNAVAILABLE, HSM_FAILED
 */
export function loadMacKey(
  session: graphene.Session,
  { ckaId, checkValue }: Pick<MacKeyHandle, 'ckaId' | 'checkValue'>,
): MacKey {
  const object = findMacKey(session, ckaId);
  if (object === undefined)
    throw new PkiError(
      'HSM_KEY_NOT_FOUND',
      `C_FindObjects: the token holds no secret key with the CKA_ID ${ckaId}`,
    );
  checkMacKey(object, ckaId);
  return {
    ckaId,
    handle: object.handle,
    mechanism: { mechanism: pkcs11.CKM_SHA256_HMAC },
    outputLength: macLength,
    checkValue,
  };
}

/** @throws PkiError HSM_FAILED if the token gave something else than a MAC */
export function checkedMac({ ckaId }: Pick<MacKey, 'ckaId'>, mac: Buffer): Buffer {
  if (mac.length !== macLength)
    throw new PkiError(
      'HSM_FAILED',
      `C_Sign: the MAC by ${ckaId} has ${mac.length} octets instead of ${macLength}`,
    );
  return Buffer.from(mac);
}

/** @throws PkiError HSM_KEY_UNFIT if the token holds another key than was recorded */
export function requireCheckValue({ ckaId, checkValue }: MacKey, mac: Buffer): void {
  if (!checkedMac({ ckaId }, mac).equals(checkValue))
    throw new PkiError(
      'HSM_KEY_UNFIT',
      `the secret key ${ckaId} is not the one that was recorded: its check value differs`,
    );
}
