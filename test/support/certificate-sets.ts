import * as fs from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { SpiffeId } from '../../src/common/spiffe/index.ts';
import {
  parseCertificate,
  setDigest,
  type ParsedCertificate,
} from '../../src/common/x509/index.ts';
import { unwrap } from '../../src/common/errors/index.ts';
import type { SetContent } from '../../sidecar/files/certificate-set.ts';
import { fileOperations, type FileOperations } from '../../sidecar/files/file-operations.ts';
import type { SetLayout, SetPermissions } from '../../sidecar/files/target.ts';
import {
  createIntermediate,
  createRoot,
  createSvid,
  type CertificateOptions,
  type TestAuthority,
} from './test-pki.ts';

export const setSpiffeId = SpiffeId.of('spiffe://td/web');

export const plainLayout: SetLayout = {
  links: false,
  cert: 'cert.pem',
  chain: 'chain.pem',
  fullchain: 'fullchain.pem',
  key: 'key.pem',
  combined: 'combined.pem',
  ca: 'ca.pem',
  crl: 'crl.pem',
  federated: {},
  pkcs12: undefined,
  jks: undefined,
};

export const plainPermissions: SetPermissions = {
  uid: undefined,
  gid: undefined,
  mode: 0o644,
  keyMode: 0o600,
  directoryMode: 0o750,
};

export interface SetIssuer {
  readonly root: TestAuthority;
  readonly issuer: TestAuthority;
}

export function setIssuer(): SetIssuer {
  const root = createRoot('td');
  return { root, issuer: createIntermediate(root, 'td') };
}

export const leafOf = ({ chainDer }: Pick<SetContent, 'chainDer'>): ParsedCertificate =>
  unwrap(parseCertificate(chainDer[0] as Buffer));

/** What an agent would write for a new SVID. */
export function setContent(
  { root, issuer }: SetIssuer,
  options: CertificateOptions = {},
): SetContent {
  const svid = createSvid(issuer, setSpiffeId.toString(), { notAfterIn: 2_900, ...options });
  const { serialHex, notBefore, notAfter } = leafOf(svid);
  const rootsDer = [root.certificateDer];
  return {
    spiffeId: setSpiffeId,
    forNames: undefined,
    serial: serialHex,
    chainDer: svid.chainDer,
    privateKeyPkcs8Der: svid.keyDer,
    rootsDer,
    crlsDer: [],
    federatedDer: new Map(),
    authoritySetDigest: setDigest(rootsDer),
    ...{ notBefore, notAfter },
  };
}

/** Called before each step that changes the disk. Throws, or returns nothing. */
export type BeforeStep = (step: number, name: string) => Promise<void> | void;

/**
 * The real file system with a look before each step that changes it. What `before` throws is what
 * the step fails with; of a write, half is on disk then.
 */
export function steppedFiles(before: BeforeStep): FileOperations {
  let step = 0;
  const next = (name: string): Promise<void> | void => before((step += 1), name);
  const stepped =
    <A extends readonly unknown[], R>(name: string, act: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      await next(name);
      return act(...args);
    };
  const handleOf = (handle: FileHandle): FileHandle =>
    new Proxy(handle, {
      get(target, key) {
        if (key === 'writeFile')
          return async (content: Buffer) => {
            try {
              await next('write');
            } catch (thrown) {
              await target.write(content.subarray(0, content.length / 2));
              throw thrown;
            }
            return target.writeFile(content);
          };
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        const act = (value as (...args: readonly unknown[]) => Promise<unknown>).bind(target);
        return key === 'chmod' || key === 'chown' || key === 'sync' ? stepped(key, act) : act;
      },
    });
  return {
    ...fileOperations,
    open: (async (...args: Parameters<typeof fs.open>) => {
      if ((Number(args[1]) & fs.constants.O_CREAT) !== 0) await next('create');
      return handleOf(await fs.open(...args));
    }) as FileOperations['open'],
    mkdir: stepped('mkdir', fs.mkdir) as FileOperations['mkdir'],
    rename: stepped('rename', fs.rename),
    symlink: stepped('symlink', fs.symlink),
    unlink: stepped('unlink', fs.unlink),
    rmdir: stepped('rmdir', fs.rmdir),
  };
}
