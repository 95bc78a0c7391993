import type { TokenMac } from '../../hsm/mac-port.ts';

/**
 * The MAC key of an EAB key, 32 bytes. The token derives it from the ID, so that nothing secret is
 * stored.
 *
 * @throws PkiError HSM_*
 */
export const eabMacKey = (mac: TokenMac, id: string): Promise<Buffer> =>
  mac.mac(Buffer.from(`meshca acme eab v1\0${id}`, 'utf8'));
