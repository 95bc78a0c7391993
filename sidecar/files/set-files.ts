import { certificatesToPem, pemEncode } from '../../src/common/x509/index.ts';
import type { SetContent } from './certificate-set.ts';
import type { SetLayout } from './target.ts';

/** The kinds of PEM files, in the order in which they are written. */
export const pemKinds = ['cert', 'chain', 'fullchain', 'key', 'combined', 'ca', 'crl'] as const;
export type PemKind = (typeof pemKinds)[number];
/** The roots of a foreign trust domain, with its name. */
export type FederatedKind = `federated:${string}`;
export type FileKind = PemKind | FederatedKind | 'pkcs12' | 'jks';

export const federatedKind = (trustDomain: string): FederatedKind => `federated:${trustDomain}`;

/** Files that hold the private key. */
export const secretKinds: ReadonlySet<FileKind> = new Set(['key', 'combined', 'pkcs12', 'jks']);

export interface SetFile {
  readonly kind: FileKind;
  readonly name: string;
  readonly content: Buffer;
}

/** The names of the files of a layout by kind, as drivers are told them. */
export function filesOf(layout: SetLayout): Readonly<Record<string, string>> {
  const names: Record<string, string> = {};
  for (const kind of pemKinds) {
    const name = layout[kind];
    if (name !== undefined) names[kind] = name;
  }
  for (const [trustDomain, name] of Object.entries(layout.federated))
    names[federatedKind(trustDomain)] = name;
  if (layout.pkcs12 !== undefined) names['pkcs12'] = layout.pkcs12.name;
  if (layout.jks !== undefined) names['jks'] = layout.jks.name;
  return names;
}

/** The text of each PEM file. Undefined: there is nothing to write. */
export function pemOf(kind: PemKind, content: SetContent): string | undefined {
  const [leaf, ...issuers] = content.chainDer as readonly [Buffer, ...Buffer[]];
  switch (kind) {
    case 'cert':
      return certificatesToPem([leaf]);
    case 'chain':
      return certificatesToPem(issuers);
    case 'fullchain':
      return certificatesToPem(content.chainDer);
    case 'key':
      return pemEncode('PRIVATE KEY', content.privateKeyPkcs8Der);
    case 'combined':
      return (
        pemEncode('PRIVATE KEY', content.privateKeyPkcs8Der) + certificatesToPem(content.chainDer)
      );
    case 'ca':
      return certificatesToPem(content.rootsDer);
    case 'crl':
      return content.crlsDer.length === 0
        ? undefined
        : content.crlsDer.map((der) => pemEncode('X509 CRL', der)).join('');
  }
}

export const pemFilesOf = (layout: SetLayout, content: SetContent): readonly SetFile[] => [
  ...pemKinds.flatMap((kind) => {
    const name = layout[kind];
    const text = name === undefined ? undefined : pemOf(kind, content);
    return name === undefined || text === undefined ? [] : [fileOf(kind, name, text)];
  }),
  ...Object.entries(layout.federated).map(([trustDomain, name]) =>
    fileOf(
      federatedKind(trustDomain),
      name,
      certificatesToPem(content.federatedDer.get(trustDomain) ?? []),
    ),
  ),
];

const fileOf = (kind: FileKind, name: string, text: string): SetFile => ({
  kind,
  name,
  content: Buffer.from(text, 'latin1'),
});
