import { PkiError } from '../../../../src/common/errors/index.ts';
import { callHttp } from '../http-call.ts';
import { said } from '../said.ts';
import { plainSerial } from '../serials.ts';

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
  return contextsIn(await page(address, '/certs', signal));
}

/**
 * Ends at the first item that is not as expected: who listens in the place of Envoy can send millions.
 * Throws DRIVER_FAILED.
 */
export const contextsIn = (certs: unknown): readonly TlsContext[] =>
  listOf(fieldsOf(certs)['certificates']).map((context) => {
    const { cert_chain, ca_cert } = fieldsOf(context);
    return { leaves: serialsIn(cert_chain), roots: serialsIn(ca_cert) };
  });

const serialsIn = (certificates: unknown): readonly string[] =>
  certificates === undefined
    ? []
    : listOf(certificates).map((certificate) => {
        const { serial_number: serial } = fieldsOf(certificate);
        if (typeof serial !== 'string') throw foreign();
        return plainSerial(serial);
      });

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) throw foreign();
  return value as Readonly<Record<string, unknown>>;
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw foreign();
  return value;
}

const foreign = (): PkiError =>
  new PkiError('DRIVER_FAILED', 'what listens there is not the admin endpoint of Envoy');

/** How often Envoy refused files of a secret since its start. */
export async function refusals(
  address: string,
  secret: string,
  signal: AbortSignal,
): Promise<number> {
  const name = `sds.${secret}.key_rotation_failed`;
  const filter = encodeURIComponent(`^${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`);
  const stats = await page(address, `/stats?format=json&filter=${filter}`, signal);
  const value = listOf(fieldsOf(stats)['stats'])
    .map(fieldsOf)
    .find((stat) => stat['name'] === name)?.['value'];
  if (typeof value === 'number') return value;
  throw new PkiError('DRIVER_FAILED', `Envoy has no counter ${name}`, {
    next: 'Name the secret as the configuration of Envoy does, with watched_directory in it.',
  });
}

async function page(address: string, path: string, signal: AbortSignal): Promise<unknown> {
  const { status, body } = await callHttp({ address, method: 'GET', path }, signal);
  if (status === 200) return parsed(body);
  throw new PkiError(
    'DRIVER_FAILED',
    `Envoy's admin page ${path} answered ${status}: ${said(body)}`,
  );
}

function parsed(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw foreign();
  }
}
