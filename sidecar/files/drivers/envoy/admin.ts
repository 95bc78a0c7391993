import { z } from 'zod';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { callHttp } from '../http-call.ts';
import { said } from '../said.ts';
import { plainSerial } from '../serials.ts';

const certificate = z.object({ serial_number: z.string() });
const certsPage = z.object({
  certificates: z.array(
    z.object({
      ca_cert: z.array(certificate).default([]),
      cert_chain: z.array(certificate).default([]),
    }),
  ),
});
const statsPage = z.object({
  stats: z.array(z.object({ name: z.string().optional(), value: z.unknown() })),
});

/** What one TLS context of Envoy holds: serials, lower-case hex without leading zeros. */
export interface TlsContext {
  readonly leaves: readonly string[];
  readonly roots: readonly string[];
}

/** The TLS contexts that Envoy uses now. */
export async function contexts(
  address: string,
  signal: AbortSignal,
): Promise<readonly TlsContext[]> {
  const { certificates } = certsPage.parse(await page(address, '/certs', signal));
  return certificates.map(({ ca_cert, cert_chain }) => ({
    leaves: cert_chain.map(({ serial_number }) => plainSerial(serial_number)),
    roots: ca_cert.map(({ serial_number }) => plainSerial(serial_number)),
  }));
}

/** How often Envoy refused files of a secret since its start. */
export async function refusals(
  address: string,
  secret: string,
  signal: AbortSignal,
): Promise<number> {
  const name = `sds.${secret}.key_rotation_failed`;
  const filter = encodeURIComponent(`^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
  const { stats } = statsPage.parse(
    await page(address, `/stats?format=json&filter=${filter}`, signal),
  );
  const value = stats.find((stat) => stat.name === name)?.value;
  if (typeof value === 'number') return value;
  throw new PkiError('DRIVER_FAILED', `Envoy has no counter ${name}`, {
    next: 'Name the secret as the configuration of Envoy does, with watched_directory in it.',
  });
}

async function page(address: string, path: string, signal: AbortSignal): Promise<unknown> {
  const { status, body } = await callHttp({ address, method: 'GET', path }, signal);
  if (status === 200) return JSON.parse(body);
  throw new PkiError(
    'DRIVER_FAILED',
    `Envoy's admin page ${path} answered ${status}: ${said(body)}`,
  );
}
