import { PkiError } from '../common/errors/index.ts';
import type { CliContext } from './context.ts';
import { acmeClients } from './option-values.ts';
import { facts, json } from './output.ts';

export type AcmeClient = (typeof acmeClients)[number];

/** What a client needs to make an account. */
export interface ClientAccount {
  readonly directoryUrl: string;
  readonly keyId: string;
  /** Base64url, without padding. */
  readonly macKey: string;
  /** A name to order in the example. */
  readonly name: string;
}

type Lines = (account: ClientAccount) => readonly string[];

const lines: Readonly<Record<AcmeClient, Lines>> = {
  certbot: ({ directoryUrl, keyId, macKey, name }) => [
    `certbot certonly --standalone --server ${directoryUrl} \\`,
    `  --eab-kid ${keyId} --eab-hmac-key ${macKey} \\`,
    `  --agree-tos --register-unsafely-without-email -d ${name}`,
  ],
  lego: ({ directoryUrl, keyId, macKey, name }) => [
    `lego --server ${directoryUrl} --accept-tos --email ops@${apexOf(name)} \\`,
    `  --eab --kid ${keyId} --hmac ${macKey} --http --domains ${name} run`,
  ],
  'acme.sh': ({ directoryUrl, keyId, macKey, name }) => [
    `acme.sh --register-account --server ${directoryUrl} \\`,
    `  --eab-kid ${keyId} --eab-hmac-key ${macKey}`,
    `acme.sh --issue --server ${directoryUrl} --standalone -d ${name}`,
  ],
  caddy: ({ directoryUrl, keyId, macKey }) => [
    '{',
    `  acme_ca ${directoryUrl}`,
    '  acme_eab {',
    `    key_id ${keyId}`,
    `    mac_key ${macKey}`,
    '  }',
    '}',
  ],
  'cert-manager': ({ directoryUrl, keyId, macKey }) => [
    'apiVersion: v1',
    'kind: Secret',
    'metadata: { name: meshca-eab, namespace: cert-manager }',
    `stringData: { secret: ${macKey} }`,
    '---',
    'apiVersion: cert-manager.io/v1',
    'kind: ClusterIssuer',
    'metadata: { name: meshca }',
    'spec:',
    '  acme:',
    `    server: ${directoryUrl}`,
    '    privateKeySecretRef: { name: meshca-account }',
    '    externalAccountBinding:',
    `      keyID: ${keyId}`,
    '      keySecretRef: { name: meshca-eab, key: secret }',
    '    solvers: [{ http01: { ingress: {} } }]',
  ],
};

const apexOf = (name: string): string => name.split('.').slice(-2).join('.');

/** The command line or configuration with which a client makes an account by this key. */
const clientLines = (client: AcmeClient, account: ClientAccount): readonly string[] =>
  lines[client](account);

/** @throws PkiError INVALID_REQUEST */
export function clientOf(text: string | undefined): AcmeClient | undefined {
  const client = acmeClients.find((each) => each === text);
  if (client === undefined && text !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `${JSON.stringify(text.slice(0, 40))} is no known client`,
      { next: `Give one of ${acmeClients.join(', ')}, or leave --for out.` },
    );
  return client;
}

export interface PrintedEabKey {
  readonly asJson: boolean | undefined;
  readonly client: AcmeClient | undefined;
  readonly account: Omit<ClientAccount, 'name'> & { readonly names: readonly string[] };
  /** Beside the key in JSON. */
  readonly more: object;
}

/** The only place that prints a MAC key. */
export function printEabKey(
  context: CliContext,
  { asJson, client, account, more }: PrintedEabKey,
): void {
  const { directoryUrl, keyId, macKey, names } = account;
  if (asJson) json(context, { ...more, id: keyId, macKey, directoryUrl });
  else if (client === undefined)
    facts(context, [
      ['key ID', keyId],
      ['MAC key', macKey],
      ['directory', directoryUrl || 'this server has no ACME: set acme.enabled'],
    ]);
  else {
    const directory = directoryUrl === '' ? 'https://CA/acme/directory' : directoryUrl;
    const lines = clientLines(client, {
      ...{ keyId, macKey, directoryUrl: directory },
      name: exampleOf(names),
    });
    context.out(`${lines.join('\n')}\n`);
  }
}

const exampleOf = ([pattern = 'NAME']: readonly string[]): string =>
  pattern
    .split('.')
    .map((label) => (label === '*' ? 'www' : label))
    .join('.');
