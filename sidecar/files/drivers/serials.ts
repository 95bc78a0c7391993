import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { unwrap } from '../../../src/common/errors/index.ts';
import { certificatesFromPem } from '../../../src/common/x509/index.ts';

/** Servers print serials with and without leading zeros. */
export const plainSerial = (serial: string): string => serial.toLowerCase().replace(/^0+/, '');

/** The serials of the certificates in a PEM file. */
export const serialsOf = async (path: string): Promise<readonly string[]> =>
  unwrap(certificatesFromPem(await readFile(path, 'utf8'))).map((der) =>
    plainSerial(new X509Certificate(der).serialNumber),
  );

/** Whether both have the same serials, in any order. */
export const sameSerials = (one: readonly string[], other: readonly string[]): boolean =>
  one.toSorted().join() === other.toSorted().join();
