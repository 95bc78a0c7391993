import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pemEncode } from '../../src/common/x509/index.ts';

const run = promisify(execFile);

export interface SignOptions {
  /** Lines of an OpenSSL extension section; they replace what the CSR asks for. */
  readonly extensions?: readonly string[];
  readonly days?: number;
  /** `YYMMDDhhmmssZ`; for certificates that are not valid now. */
  readonly startDate?: string;
  readonly endDate?: string;
}

/**
 * A company's CA with a root and an intermediate, made and run by OpenSSL: nothing of ours is in
 * it.
 */
export interface CompanyCa extends AsyncDisposable {
  readonly rootPem: string;
  readonly subPem: string;
  readonly dir: string;
  /** Signs a CSR below the intermediate; PEM of the certificate alone. */
  sign(csrDer: Buffer, options?: SignOptions): Promise<string>;
  /** A CRL of the root or of the intermediate, in DER. */
  crl(issuer: 'root' | 'sub', options: CrlOptions): Promise<Buffer>;
}

export interface CrlOptions {
  /** Hex. */
  readonly number: string;
  /** From now on; default 30 days. */
  readonly lifeSeconds?: number;
  /** Default now. */
  readonly thisUpdate?: number;
  /** Serials in hex. */
  readonly revoked?: readonly string[];
  /**
   * Lines of an extension section in place of AuthorityKeyIdentifier (the CRL number comes by
   * itself).
   */
  readonly extensions?: readonly string[];
}

const openSslTime = (seconds: number): string =>
  `${new Date(seconds * 1000).toISOString().replace(/[-:T]/g, '').slice(2, 14)}Z`;

export const caExtensions = [
  'basicConstraints=critical,CA:TRUE,pathlen:0',
  'keyUsage=critical,keyCertSign,cRLSign',
  'subjectKeyIdentifier=hash',
  'authorityKeyIdentifier=keyid',
] as const;

// oxlint-disable-next-line test-sizes/function-lines -- a foreign CA, command by command
export async function createCompanyCa(
  options: {
    readonly rootDays?: number;
    readonly subDays?: number;
    readonly subExtensions?: readonly string[];
  } = {},
): Promise<CompanyCa> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-company-'));
  const file = (name: string): string => join(dir, name);
  const openssl = (...args: string[]): Promise<unknown> => run('openssl', args, { cwd: dir });
  let count = 0;
  await writeFile(
    file('ca.cnf'),
    [
      '[ca]',
      'default_ca=d',
      '[d]',
      `dir=${dir}`,
      'new_certs_dir=$dir',
      'database=$dir/index.txt',
      'serial=$dir/serial',
      'default_md=sha256',
      'policy=any',
      'unique_subject=no',
      'copy_extensions=copy',
      'email_in_dn=no',
      '[any]',
      'organizationName=optional',
      'commonName=supplied',
      'serialNumber=optional',
      '[req]',
      'distinguished_name=dn',
      '[dn]',
    ].join('\n'),
  );
  await writeFile(file('index.txt'), '');
  await writeFile(file('serial'), '1000\n');
  const ca = async (
    issuer: string,
    csr: string,
    out: string,
    {
      extensions,
      dates,
    }: {
      readonly extensions: readonly string[] | undefined;
      readonly dates: readonly string[];
    },
  ): Promise<void> => {
    await writeFile(
      file(`${out}.ext`),
      extensions === undefined
        ? '[none]\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n'
        : `[none]\n${extensions.join('\n')}\n`,
    );
    // what the CSR asks for is copied only where no extension of the CA says otherwise
    const config = extensions === undefined ? 'ca.cnf' : 'fixed.cnf';
    if (extensions !== undefined)
      await writeFile(
        file('fixed.cnf'),
        (await readFile(file('ca.cnf'), 'utf8')).replace(
          'copy_extensions=copy',
          'copy_extensions=none',
        ),
      );
    await openssl(
      'ca',
      '-batch',
      '-notext',
      '-config',
      config,
      '-cert',
      `${issuer}.pem`,
      '-keyfile',
      `${issuer}.key`,
      '-in',
      csr,
      '-out',
      `${out}.pem`,
      '-extfile',
      `${out}.ext`,
      '-extensions',
      'none',
      ...dates,
    );
  };
  await openssl(
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-384',
    '-nodes',
    '-keyout',
    'root.key',
    '-out',
    'root.pem',
    '-days',
    String(options.rootDays ?? 3650),
    '-subj',
    '/O=Company/CN=Company Root',
    '-addext',
    'basicConstraints=critical,CA:TRUE',
    '-addext',
    'keyUsage=critical,keyCertSign,cRLSign',
  );
  await openssl(
    'req',
    '-new',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-keyout',
    'sub.key',
    '-out',
    'sub.csr',
    '-subj',
    '/O=Company/CN=Company Machines',
  );
  await ca('root', 'sub.csr', 'sub', {
    extensions: options.subExtensions ?? [
      'basicConstraints=critical,CA:TRUE,pathlen:1',
      'keyUsage=critical,keyCertSign,cRLSign',
      'subjectKeyIdentifier=hash',
      'authorityKeyIdentifier=keyid',
    ],
    dates: ['-days', String(options.subDays ?? 1825)],
  });
  return {
    dir,
    rootPem: await readFile(file('root.pem'), 'utf8'),
    subPem: await readFile(file('sub.pem'), 'utf8'),
    async sign(csrDer, { extensions, days = 400, startDate, endDate } = {}) {
      count += 1;
      await writeFile(file(`req${count}.pem`), pemEncode('CERTIFICATE REQUEST', csrDer));
      const dates =
        startDate === undefined || endDate === undefined
          ? ['-days', String(days)]
          : ['-startdate', startDate, '-enddate', endDate];
      await ca('sub', `req${count}.pem`, `cert${count}`, { extensions, dates });
      return readFile(file(`cert${count}.pem`), 'utf8');
    },
    async crl(
      issuer,
      {
        number,
        lifeSeconds = 30 * 86_400,
        thisUpdate = Math.floor(Date.now() / 1000),
        revoked = [],
        extensions = ['authorityKeyIdentifier=keyid:always'],
      },
    ) {
      count += 1;
      const name = `crl${count}`;
      await writeFile(
        file(`${name}.txt`),
        revoked
          .map(
            (serial) =>
              `R\t400101000000Z\t${openSslTime(thisUpdate)},keyCompromise\t${serial.toUpperCase()}\tunknown\t/CN=revoked\n`,
          )
          .join(''),
      );
      await writeFile(file(`${name}.number`), `${number}\n`);
      await writeFile(
        file(`${name}.cnf`),
        [
          '[ca]',
          'default_ca=d',
          '[d]',
          `database=${file(`${name}.txt`)}`,
          `crlnumber=${file(`${name}.number`)}`,
          'default_md=sha256',
          'crl_extensions=e',
          '[e]',
          ...extensions,
        ].join('\n'),
      );
      await openssl(
        'ca',
        '-gencrl',
        '-config',
        `${name}.cnf`,
        '-cert',
        `${issuer}.pem`,
        '-keyfile',
        `${issuer}.key`,
        '-crl_lastupdate',
        openSslTime(thisUpdate),
        '-crl_nextupdate',
        openSslTime(thisUpdate + lifeSeconds),
        '-out',
        `${name}.pem`,
      );
      await openssl('crl', '-in', `${name}.pem`, '-outform', 'DER', '-out', `${name}.crl`);
      return readFile(file(`${name}.crl`));
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}
